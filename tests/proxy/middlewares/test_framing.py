"""The request-smuggling guard; tests/hostile has the whole corpus, on raw sockets."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from proxy.errors import BadRequest
from proxy.middlewares.framing import framing


async def _handler(request: web.Request) -> web.Response:
    del request
    return web.Response()


@pytest.mark.parametrize("coding", ["chunked", "Chunked "])
async def test_plain_chunks_pass(coding: str) -> None:
    request = make_mocked_request("POST", "/", {"transfer-encoding": coding})
    assert (await framing(request, _handler)).status == 200


@pytest.mark.parametrize("coding", ["", "gzip, chunked", "identity", "chunked;a=b"])
async def test_any_other_coding_does_not(coding: str) -> None:
    request = make_mocked_request("POST", "/", {"transfer-encoding": coding})
    with pytest.raises(BadRequest):
        await framing(request, _handler)


async def test_no_tunnel_is_made() -> None:
    with pytest.raises(BadRequest):
        await framing(make_mocked_request("CONNECT", "/"), _handler)
