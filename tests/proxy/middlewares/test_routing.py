"""The routing middleware: what it reads, and what it rejects."""

from __future__ import annotations

from tests.support.gateway import always, gateway, gateway_to
from tests.support.raw_http import shout

UP = {"virtual_key": "up"}


async def test_both_spellings_of_the_route_make_pictures() -> None:
    async with gateway_to() as (ours, fake):
        for path in ("/v1/images/generations", "/images/generations"):
            assert (await ours.ask({"prompt": "a"}, path=path, **UP)).status == 200
        assert len(fake.requests) == 2


async def test_a_body_without_a_content_type_is_taken_for_json() -> None:
    async with gateway_to() as (ours, _):
        assert (await shout(ours, b"x-portkey-virtual-key: up")).status == 200


async def test_what_cannot_be_read_reaches_no_provider() -> None:
    async with gateway_to(always({})) as (ours, fake):
        for body in (
            b"",
            b"{",
            b"[]",
            b'"a"',
            b"\xff",
            b"[" * 2000,
            b'{"a":' * 40 + b"1" + b"}" * 40,
        ):
            got = await ours.ask(body, **UP)
            assert (got.status, got.error["code"]) == (400, "invalid_json")
        assert fake.requests == []


async def test_a_trace_id_that_cannot_be_echoed_is_refused() -> None:
    async with gateway() as ours:
        got = await ours.draw(trace_id="x" * 600, **UP)
        assert (got.status, got.error["param"]) == (400, "x-portkey-trace-id")
        assert got.headers["x-portkey-trace-id"]


async def test_the_slug_in_a_model_stays_here_and_the_rest_is_sent_as_it_was() -> None:
    async with gateway_to() as (ours, fake):
        assert (await ours.draw(params={"model": "@up/owner/name", "n": 1})).status == 200
        assert fake.sent == {"prompt": "a cube", "model": "owner/name", "n": 1}
