"""A cluster on this machine, and what becomes of its clients when parts of it go.

`make cluster-test` starts a real nginx, a real Redis, a real S3-compatible server and three nodes
of two workers each, has both SDKs ask for pictures without pause, and breaks one thing after the
other.
"""
