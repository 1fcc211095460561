"""The order of the middlewares, and the table that documents it."""

from __future__ import annotations

import re

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from aiohttp.typedefs import Handler, Middleware

from proxy import middlewares
from proxy.middlewares import ATTEMPT_CHAIN, CHAIN, IMAGE_CHAIN, with_tracing, wrap
from proxy.observability.tracing.spans import Tracer
from proxy.settings.loader import default_settings


def recording_link(passed: list[str], name: str) -> Middleware:
    async def link(request: web.Request, handler: Handler) -> web.StreamResponse:
        passed.append(name)
        return await handler(request)

    return link


async def test_the_first_link_is_the_outermost() -> None:
    passed: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        passed.append(request.path)
        return web.Response()

    chain = wrap([recording_link(passed, "a"), recording_link(passed, "b")], handler)
    await chain(make_mocked_request("GET", "/"))
    assert passed == ["a", "b", "/"]


@pytest.mark.parametrize(
    ("half", "links"),
    [("CHAIN", CHAIN), ("IMAGE_CHAIN", IMAGE_CHAIN), ("ATTEMPT_CHAIN", ATTEMPT_CHAIN)],
)
def test_the_table_shows_the_links_in_their_order(half: str, links: tuple[Middleware, ...]) -> None:
    rows = (middlewares.__doc__ or "").partition(f"| **{half},")[2].splitlines()[1:]
    named = [found[1] for row in rows if (found := re.match(r"\| (\w+) \|", row))]
    assert named[: len(links)] == [getattr(link, "__name__", "") for link in links]


def test_traces_begin_once_the_caller_is_known() -> None:
    tracer = Tracer(default_settings().tracing)
    order = [getattr(link, "__name__", "") for link in with_tracing(CHAIN, tracer)]
    assert order == [*(getattr(link, "__name__", "") for link in CHAIN), "tracing"]
    assert order[-2] == "auth"


def test_auth_comes_before_anything_that_costs() -> None:
    order = [getattr(link, "__name__", "") for link in (*CHAIN, *IMAGE_CHAIN, *ATTEMPT_CHAIN)]
    assert order.index("auth") < order.index("routing") < order.index("transform")
