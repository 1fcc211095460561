"""Random input for what reads a stranger's: `make fuzz MINUTES=5`.

Each of `targets.TARGETS` takes any bytes and must end: whatever it raises is a finding, which
becomes a test of its own beside the code that is mended.
"""
