"""Tools for adapters: sizes, JSON access, image headers, events, URL paths, graphs."""
