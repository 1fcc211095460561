"""Where a request ends: what another server on the way could measure differently goes no further.

Two lengths, a length beside `transfer-encoding` and the like never come this far: the parser
refuses them. What is refused here ends its connection: what follows may be the rest of a request.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.errors import BadRequest


@web.middleware
async def framing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request pass whose body is measured by its length, or in plain chunks."""
    coding = request.headers.get("transfer-encoding")
    if coding is not None and coding.strip().lower() != "chunked":
        # RFC 9112, 6.1: to treat a coding that is not understood as understood is an attack's door.
        raise _unreadable("A request's only transfer-encoding is chunked.")
    if request.method == "CONNECT":
        raise _unreadable("This is no proxy: it makes no tunnels.")
    return await handler(request)


def _unreadable(message: str) -> BadRequest:
    error = BadRequest(message, code="unreadable_request")
    error.headers = {"Connection": "close"}
    return error
