"""State shared by several processes: small values only, never an image, never a prompt."""
