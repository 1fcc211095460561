"""A page whose own name leads to 127.0.0.1: it gets no further than the name."""

from __future__ import annotations

import pytest

from tests.support.gateway import PATH, gateway

EVERYWHERE = (
    *(("GET", "/"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/v1/models"), ("POST", PATH)),
    *(("GET", "/v1/images/jobs/x"), ("GET", "/v1/images/blobs/x"), ("DELETE", "/v1/cache")),
    ("GET", "/nowhere"),
)


@pytest.mark.parametrize("key", ["", "easel-test-key-0123456789"])
async def test_a_foreign_name_gets_nothing_anywhere(key: str) -> None:
    async with gateway() as ours:
        for method, path in EVERYWHERE:
            named = {"Host": "evil.example:8787", "x-portkey-api-key": key}
            async with ours.session.request(method, ours.url + path, headers=named) as got:
                assert got.status == 421, path
                told = (await got.json())["error"]
                assert told["code"] == "unknown_host"
                assert "server.allowed_hosts" in told["message"]
                assert "evil" not in told["message"]


async def test_a_name_that_is_set_is_let_in() -> None:
    async with gateway("server: {allowed_hosts: [easel.internal]}") as ours:
        for host, status in (("easel.internal", 200), ("evil.example", 421)):
            async with ours.session.get(ours.url + "/healthz", headers={"Host": host}) as got:
                assert got.status == status
