"""Fuzzing of the parsers of untrusted input: `make fuzz MINUTES=5`.

Each of `targets.TARGETS` must accept any bytes and return. An exception is a finding; its fix
brings a test of its own.
"""
