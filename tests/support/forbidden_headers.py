"""Names of headers that a client may not have forwarded."""

from __future__ import annotations

REFUSED = (
    *("x-portkey-api-key", "X-Portkey-Config", "x-portkey-forward-headers", "x-portkey-anything"),
    *("host", "Content-Length", "content-type", "content-encoding", "Transfer-Encoding", "expect"),
    *("connection", "keep-alive", "te", "trailer", "upgrade", "proxy-authorization", "cookie"),
    *("metadata-flavor", "Metadata", "x-google-metadata-request", "x-aws-ec2-metadata-token"),
    *("a b", "a:b", "a\nb", "ä", "(a)", "x" * 129),
)
