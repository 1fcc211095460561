"""Traces: spans of our own, sent as OTLP to a receiver; nothing of it is imported while it is off.

The law: no span holds a prompt, a key, a picture, a query or the value of a header, but for the
caller's own trace id. docs/tracing.md lists what one may hold, and `names` is that list in code.
"""
