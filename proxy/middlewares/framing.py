"""Request-smuggling guard: reject requests that another server could read differently.

The HTTP parser already rejects duplicate lengths, or a length together with `transfer-encoding`.
A rejection here closes the connection, because the bytes that follow may belong to this request.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from proxy.errors import BadRequest
from proxy.http.allowed_hosts import MisdirectedRequest


@web.middleware
async def framing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Pass on a request whose body is framed by content-length or by plain chunks."""
    coding = request.headers.get("transfer-encoding")
    if coding is not None and coding.strip().lower() != "chunked":
        # RFC 9112, 6.1: a server must not process a transfer coding that it does not understand.
        raise _unreadable("Unsupported transfer-encoding: only 'chunked' is accepted.")
    if request.method == "CONNECT":
        raise _unreadable("CONNECT is not supported: this gateway is not a forward proxy.")
    if not request.raw_path.startswith(("/", "*")):
        _check_absolute_target(request)
    return await handler(request)


def _check_absolute_target(request: web.Request) -> None:
    """Raise `MisdirectedRequest` if the URL in the request line names another host than `Host`."""
    target = URL(request.raw_path, encoded=True)
    if target.scheme not in ("http", "https"):
        raise _unreadable("The URL in the request line must begin with http or https.")
    host, port = request.headers.get("host", ""), f":{target.port}" * target.is_default_port()
    if target.raw_authority.lower().removesuffix(port) != host.lower().removesuffix(port):
        error = MisdirectedRequest(
            "The request line has an absolute URL of another host than the Host header: this "
            "gateway is not a forward proxy. Send the path alone."
        )
        error.headers = {"Connection": "close"}
        raise error


def _unreadable(message: str) -> BadRequest:
    error = BadRequest(message, code="unreadable_request")
    error.headers = {"Connection": "close"}
    return error
