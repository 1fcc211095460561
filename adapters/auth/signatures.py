"""Request signatures: AWS Signature Version 4 and Tencent Cloud's TC3."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from adapters.contract import SignableRequest

_ALGORITHM = "AWS4-HMAC-SHA256"
# Not signed: proxies may change these headers, and forwarded client headers may replace them.
_UNSIGNED = frozenset(
    {"accept-encoding", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"}
)
_DEFAULT_PORTS = {"https": ":443", "http": ":80"}


def sign_sigv4(  # noqa: PLR0913 - what AWS needs to sign a request
    request: SignableRequest,
    *,
    service: str,
    region: str,
    access_key_id: str,
    secret_access_key: str,
    session_token: str = "",
) -> Mapping[str, str]:
    """Sign a request for an AWS service other than S3 and return the headers to add.

    The path of `request.url` must be exactly the one sent; it is encoded once more for the
    canonical request, as every AWS service but S3 requires.
    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    parts = urlsplit(request.url)
    stamp = datetime.fromtimestamp(request.time, UTC).strftime("%Y%m%dT%H%M%SZ")
    added = {"x-amz-date": stamp}
    if session_token:
        added["x-amz-security-token"] = session_token
    headers = {name.lower(): " ".join(value.split()) for name, value in request.headers.items()}
    signed = {name: value for name, value in headers.items() if name not in _UNSIGNED}
    signed |= {"host": _host(parts)} | added
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        (
            request.method,
            quote(parts.path or "/", safe="/-_.~"),
            _canonical_query(parts.query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            hashlib.sha256(request.body).hexdigest(),
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


def sign_tc3(
    request: SignableRequest, *, service: str, secret_id: str, secret_key: str, token: str = ""
) -> Mapping[str, str]:
    """Sign a JSON request for a Tencent Cloud service and return the headers to add.

    Content type and host are signed, as in Tencent's SDKs; `X-TC-Action` and similar headers are
    not. `token` is the session token of a temporary key.
    Source: https://www.tencentcloud.com/document/product/1154/48911
    """
    parts, stamp = urlsplit(request.url), str(int(request.time))
    content_type = request.headers.get("content-type", "").lower()
    signed = f"content-type:{content_type}\nhost:{_host(parts)}\n\ncontent-type;host"
    body = hashlib.sha256(request.body).hexdigest()
    canonical = f"{request.method}\n{parts.path or '/'}\n{parts.query}\n{signed}\n{body}"
    scope = f"{datetime.fromtimestamp(request.time, UTC):%Y-%m-%d}/{service}/tc3_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    chain = (f"TC3{secret_key}", *scope.split("/"), f"TC3-HMAC-SHA256\n{stamp}\n{scope}\n{digest}")
    key, *steps = (link.encode() for link in chain)
    for step in steps:
        key = hmac.digest(key, step, "sha256")
    credential = f"TC3-HMAC-SHA256 Credential={secret_id}/{scope}"
    return {
        "x-tc-timestamp": stamp,
        "authorization": f"{credential}, SignedHeaders=content-type;host, Signature={key.hex()}",
        **({"x-tc-token": token} if token else {}),
    }


def _host(parts: SplitResult) -> str:
    """Return the host as in the Host header: lower case, without a default port."""
    host = parts.netloc.rpartition("@")[2].lower()
    return host.removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))


def _canonical_query(query: str) -> str:
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
    return "&".join(f"{name}={value}" for name, value in pairs)
