"""Headers that are forwarded to a provider, and headers that are relayed to the client."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from proxy.errors import BadRequest
from proxy.http.forwarding import forward_headers, relay_headers
from tests.support.forbidden_headers import REFUSED
from tests.support.gateway import gateway_to
from tests.support.raw_http import shout

UP = {"virtual_key": "up"}


@pytest.mark.parametrize("name", REFUSED)
def test_a_forbidden_header_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        forward_headers([name], {}, ())
    assert (caught.value.code, caught.value.param) == (
        "invalid_forward_header",
        "x-portkey-forward-headers",
    )


def test_a_listed_header_is_forwarded() -> None:
    headers = CIMultiDict({"X-Tenant": "t", "traceparent": "00-1", "x-other": "o"})
    picked = forward_headers([" x-tenant", "TraceParent ", "x-absent", ""], headers, ())
    assert picked == {"x-tenant": "t", "traceparent": "00-1"}


def test_headers_named_by_connection_are_not_forwarded() -> None:
    headers = CIMultiDict({"connection": "close, X-Tenant", "x-tenant": "t"})
    assert forward_headers(["x-tenant"], headers, ()) == {}


async def test_unlisted_headers_are_not_forwarded() -> None:
    async with gateway_to() as (ours, fake):
        await ours.draw(x_tenant="t", accept="a/b", **UP)
        sent = {name.lower() for name in fake.requests[0].headers}
        assert sent == {
            *("host", "accept", "accept-encoding", "user-agent", "content-type"),
            *("content-length", "authorization", "via"),
        }
        assert fake.requests[0].headers["user-agent"] == "easel"


async def test_the_header_forwards() -> None:
    async with gateway_to() as (ours, fake):
        await ours.draw(forward_headers="X-Tenant, x-trace", x_tenant="t", x_trace="r", **UP)
        assert fake.requests[0].headers["x-tenant"] == "t"
        assert fake.requests[0].headers["x-trace"] == "r"


async def test_the_header_overrides_the_config() -> None:
    config = '{"virtual_key": "up", "forward_headers": ["x-tenant"]}'
    async with gateway_to() as (ours, fake):
        await ours.draw(config=config, x_tenant="t", x_trace="r")
        await ours.draw(config=config, forward_headers="x-trace", x_tenant="t", x_trace="r")
        names = [{"x-tenant", "x-trace"} & {*request.headers} for request in fake.requests]
        assert names == [{"x-tenant"}, {"x-trace"}]


async def test_a_callers_own_credential_may_be_forwarded() -> None:
    config = '{"provider": "openai", "custom_host": "%s", "forward_headers": ["authorization"]}'
    async with gateway_to(more="trusted_custom_hosts: [127.0.0.1]\n") as (ours, fake):
        own = {"authorization": "Basic own"}
        assert (await ours.draw(config=config.replace("%s", fake.url), **own)).status == 200
        assert fake.requests[0].headers["authorization"] == "Basic own"


async def test_a_list_that_names_itself_gets_portkeys_message() -> None:
    async with gateway_to() as (ours, fake):
        got = await ours.draw(forward_headers="x-portkey-forward-headers", **UP)
        assert (got.status, got.json["status"], fake.requests) == (400, "failure", [])
        assert got.json["message"] == (
            "forward_headers must not contain the 'x-portkey-forward-headers' header"
        )


async def test_header_bytes_that_are_not_utf8_are_forwarded() -> None:
    async with gateway_to() as (ours, _):
        asked = b"x-portkey-virtual-key: up", b"x-portkey-forward-headers: x-tenant"
        assert (await shout(ours, *asked, b"x-tenant: \xff\xfe")).status == 200
        assert (await shout(ours, asked[0], b"x-portkey-forward-headers: \xff")).status == 400


NOT_RELAYED = (
    *("set-cookie", "Connection", "keep-alive", "x-portkey-trace-id", "X-Portkey-Provider"),
    *("x-easel-receipt", "server", "x-accel-redirect", "X-Sendfile", "access-control-allow-origin"),
    *("proxy-authenticate", "trailer", "strict-transport-security", "cf-ray", "x-named"),
)


@pytest.mark.parametrize("whole", [False, True])
def test_headers_of_the_providers_site_and_connection_are_dropped(*, whole: bool) -> None:
    theirs = CIMultiDict(dict.fromkeys(NOT_RELAYED, "x") | {"connection": "close, X-Named"})
    assert not relay_headers(theirs, with_body=whole)


def test_headers_about_the_body_are_relayed_with_the_body() -> None:
    theirs = {"content-type": "a/b", "etag": "x", "x-request-id": "r", "retry-after": "1"}
    assert dict(relay_headers(theirs, with_body=True)) == theirs
    assert set(relay_headers(theirs, with_body=False)) == {"x-request-id", "retry-after"}
