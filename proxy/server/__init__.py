"""The server process: sockets, connections, shutdown."""
