"""How a credential is put on a request: plain headers, and AWS's Signature Version 4."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from adapters.contract import Outgoing

_ALGORITHM = "AWS4-HMAC-SHA256"
# Proxies may change these on the way, and a client's own may be forwarded in their place.
_UNSIGNED = frozenset(
    {"accept-encoding", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"}
)
_DEFAULT_PORTS = {"https": ":443", "http": ":80"}


def sigv4(  # noqa: PLR0913 - what AWS needs to sign a request
    outgoing: Outgoing,
    *,
    service: str,
    region: str,
    access_key_id: str,
    secret_access_key: str,
    session_token: str = "",
) -> Mapping[str, str]:
    """Sign a request for an AWS service other than S3 and give the headers to add.

    The path of `outgoing.url` must be the one on the wire; it is encoded once more for the
    canonical request, as every AWS service but S3 asks.
    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    parts = urlsplit(outgoing.url)
    stamp = datetime.fromtimestamp(outgoing.time, UTC).strftime("%Y%m%dT%H%M%SZ")
    added = {"x-amz-date": stamp}
    if session_token:
        added["x-amz-security-token"] = session_token
    given = {name.lower(): " ".join(value.split()) for name, value in outgoing.headers.items()}
    signed = {name: value for name, value in given.items() if name not in _UNSIGNED}
    signed |= {"host": _host(parts)} | added
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        (
            outgoing.method,
            quote(parts.path or "/", safe="/-_.~"),
            _canonical_query(parts.query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            hashlib.sha256(outgoing.body).hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret_access_key}".encode()
    for step in (stamp[:8], region, service, "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    signature = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
    return added | {
        "authorization": f"{_ALGORITHM} Credential={access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    }


def _host(parts: SplitResult) -> str:
    """Give the host as a client writes it into the Host header: no default port, lower case."""
    host = parts.netloc.rpartition("@")[2].lower()
    return host.removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))


def _canonical_query(query: str) -> str:
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
    return "&".join(f"{name}={value}" for name, value in pairs)
