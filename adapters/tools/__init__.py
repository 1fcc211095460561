"""What adapters share: sizes, JSON access, image headers, URLs."""
