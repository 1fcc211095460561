"""OpenTelemetry traces, exported over OTLP. While off, none of it is imported.

Invariant: no span holds a prompt, key, image, query string or header value, except the caller's own
trace id. docs/tracing.md lists what a span may hold, and `attributes` is that list in code.
"""
