"""The `Expect` header: answered by the auth middleware, like everything else in a request.

aiohttp calls a route's expect handler before the middlewares. Its own handler repeats an unknown
expectation in plain text, and knows no trace id, access line or Host check. So every route gets a
handler that does nothing, and the middleware answers.
"""

from __future__ import annotations

from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.web_urldispatcher import SystemRoute, UrlDispatcher

from proxy.errors import GatewayError


class ExpectationFailed(GatewayError):
    """The request has an `Expect` header other than `100-continue` (417)."""

    status = 417
    type = "invalid_request_error"
    code = "unknown_expectation"
    headers = {"Connection": "close"}


async def defer_expect(_: web.Request) -> None:
    """Leave the `Expect` header to the middleware: the expect handler of every route."""


def defer_expect_without_route(router: UrlDispatcher) -> None:
    """Leave the `Expect` header to the middleware for requests that match no route."""
    resolve = router.resolve

    async def resolve_and_defer(request: web.Request) -> Any:
        match = await resolve(request)
        if isinstance(match.route, SystemRoute):
            # aiohttp has no public way to choose it.
            match.route._expect_handler = defer_expect  # noqa: SLF001 - see above
        return match

    router.resolve = resolve_and_defer  # type: ignore[method-assign]  # no public hook


def check_expectation(request: web.Request) -> None:
    """Raise `ExpectationFailed` for an unknown expectation. HTTP/1.0 has none."""
    if request.version >= HttpVersion11 and not _is_continue(request):
        raise ExpectationFailed("Unknown Expect header: send '100-continue', or none.")


async def send_continue(request: web.Request) -> None:
    """Ask the client for the body, if it waits for that."""
    if request.version < HttpVersion11 or not _is_continue(request):
        return
    writer: Any = request.writer
    await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # Not a part of the response: aiohttp's own expect handler resets it likewise.
    writer.output_size = 0


def _is_continue(request: web.Request) -> bool:
    return {it.lower() for it in request.headers.getall("expect", ())} == {"100-continue"}
