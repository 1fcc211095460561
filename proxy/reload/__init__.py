"""Settings that change while the gateway runs: read, checked, swapped whole.

Who watches files knows no application, and who applies a text reads no file: where several workers
run, their supervisor watches, and each of them applies.
"""
