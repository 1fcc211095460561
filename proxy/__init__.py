"""All of Easel's I/O: the server, the chain, the conversations with providers."""

__version__ = "0.1.0"
