"""Base classes for adapters that share a wire format."""
