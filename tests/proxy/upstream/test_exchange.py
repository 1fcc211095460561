"""Where requests and credentials go: never to a foreign host, and paid requests once."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

import orjson
import pytest
from aiohttp import web
from msgspec.structs import replace
from yarl import URL

from adapters import PROVIDERS, get_adapter
from adapters.contract import Credentials, SignableRequest
from adapters.http import ProviderRequest
from proxy.errors import UpstreamFailed
from proxy.routing.plan import Target
from proxy.settings.routing_config import parse_config
from proxy.upstream import retry
from proxy.upstream.client import PROVIDER_CLIENT
from proxy.upstream.exchange import describe_request, resolve_url
from tests.support.gateway import (
    ANSWER,
    B64,
    Answered,
    Gateway,
    always,
    gateway_to,
    json_reply,
    provider,
)
from tests.support.polling_provider import ELSEWHERE, FLUX, HELD, POLLED, SCHNELL, drawn, polled
from tests.support.raw_http import SECRET

NOWHERE = (
    "/v1/get_result?id=1",
    "get_result",
    "//api.bfl.ai/get",
    "http://",
    "http://[",
    "?",
    "a b",
)


def target(base_url: str = "https://api.bfl.ai/v1") -> Target:
    return Target(get_adapter("black-forest-labs"), Credentials(SECRET), base_url)


def at(url: str, **more: Any) -> ProviderRequest:
    return ProviderRequest(url=url, method="GET", **more)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_a_signed_request_goes_to_no_foreign_host(url: str) -> None:
    with pytest.raises(UpstreamFailed) as caught:
        resolve_url(target(), at(url))
    assert caught.value.code == "foreign_url"


def test_a_signed_request_goes_to_the_providers_own_hosts() -> None:
    for url in ("https://api.eu2.bfl.ai/v1/get?id=1", "https://bfl.ai/x", "https://API.BFL.AI/x"):
        assert resolve_url(target(), at(url)) == (URL(url, encoded=True), False)


def test_an_unsigned_request_may_go_anywhere_public() -> None:
    assert resolve_url(target(), at("https://cdn.example/a.png", authenticated=False))[1] is False


def test_the_base_urls_origin_may_be_private() -> None:
    own = Target(
        get_adapter("openai"), Credentials(), "http://10.0.0.5:8080/v1", allow_private_network=True
    )
    for url, private in (("http://10.0.0.5:8080/a.png", True), ("http://10.0.0.5/a.png", False)):
        assert resolve_url(own, at(url, authenticated=False))[1] is private


def failed(got: Answered) -> tuple[int, str | None]:
    return got.status, got.error["code"]


async def test_a_polling_url_of_the_providers_gets_the_key() -> None:
    async with polled() as (ours, polls):
        assert (await drawn(ours)).status == 200
        assert polls.fake.requests[-1].headers["x-key"] == SECRET


@pytest.mark.parametrize(("way", "model"), [(POLLED, FLUX), (HELD, SCHNELL)])
async def test_a_foreign_polling_url_gets_no_credential(
    way: dict[str, str], model: dict[str, str]
) -> None:
    async with provider() as stranger, polled(f"{stranger.url}/get") as (ours, _):
        assert failed(await ours.draw(params=model, **way)) == (502, "foreign_url")
        assert not stranger.requests


@pytest.mark.parametrize("place", NOWHERE)
async def test_an_invalid_polling_url_is_a_named_error(place: str) -> None:
    async with polled(place) as (ours, _):
        got = await drawn(ours)
        assert (got.status, got.error["type"]) == (502, "server_error")


async def test_a_line_break_in_a_polling_url_adds_no_header() -> None:
    async with polled("{own}/get\r\nx-key: b\r\n\r\nGET /x") as (ours, polls):
        await drawn(ours)
        assert not [it for it in polls.fake.requests if it.headers["x-key"] != SECRET]


@pytest.mark.usefixtures("hasty")
async def test_an_image_on_a_private_address_is_not_downloaded() -> None:
    async with provider() as stranger, polled() as (ours, polls):
        polls.result = f"{stranger.url}/a.png"
        assert failed(await drawn(ours, response_format="b64_json")) == (502, "foreign_url")
        assert not stranger.requests


async def test_an_image_on_the_operators_host_is_downloaded_without_the_key() -> None:
    async with polled() as (ours, polls):
        got = await drawn(ours, response_format="b64_json")
        assert got.json["data"] == [{"b64_json": B64}]
        assert SECRET not in str(polls.fake.requests[-1].headers)


async def redirect(request: web.Request) -> web.Response:
    """Redirect every request to an image; the redirect contains one as well."""
    headers = {"location": str(request.url.with_path("/elsewhere"))}
    return web.json_response(
        ANSWER, status=302 if request.method == "GET" else 307, headers=headers
    )


async def test_a_redirect_is_not_followed_and_is_no_success() -> None:
    async with gateway_to(redirect) as (ours, fake):
        got = await ours.draw(virtual_key="up")
        assert failed(got) == (502, "redirected")
        assert "location" not in got.headers
        assert [request.path for request in fake.requests] == ["/v1/images/generations"]


async def test_a_long_redirect_is_not_relayed() -> None:
    async def long(request: web.Request) -> web.Response:
        del request
        return web.json_response({"data": "x" * 99_999}, status=302, headers={"location": "/x"})

    async with gateway_to(long) as (ours, _):
        assert failed(await ours.draw(virtual_key="up")) == (502, "redirected")


async def test_a_redirected_poll_is_not_followed() -> None:
    async with polled() as (ours, polls):
        polls.polls = [web.Response(status=302, headers={"location": "/elsewhere"})]
        assert failed(await drawn(ours)) == (502, "redirected")
        assert not polls.asked(path="/elsewhere")


def busy(times: int, status: int = 503) -> list[web.Response]:
    """Return replies of a busy provider, each longer than a buffer."""
    return [web.Response(status=status, body=b"x" * 500_000) for _ in range(times)]


def with_one_connection(ours: Gateway) -> None:
    """Limit the gateway to one connection per host."""
    connectors = ours.app[PROVIDER_CLIENT].connectors
    for private in (False, True):
        connector: Any = connectors.client(private=private).session.connector
        connector._limit = connector._limit_per_host = 1


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the delays between tries very short."""
    monkeypatch.setattr(retry, "_HALF_FREE_DELAY", 0.001)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_poll_is_repeated_and_releases_its_connection(status: int) -> None:
    async with polled() as (ours, polls), asyncio.timeout(5):
        with_one_connection(ours)
        polls.polls = busy(2, status)
        assert (await drawn(ours)).status == 200
        assert polls.asked() == 3


@pytest.mark.usefixtures("hasty")
async def test_a_poll_that_stays_busy_is_a_provider_error() -> None:
    async with polled() as (ours, polls), asyncio.timeout(5):
        with_one_connection(ours)
        polls.polls = [*busy(2), json_reply({"detail": "come back later"}, 503)]
        got = await drawn(ours)
        assert failed(got) == (503, "overloaded")
        assert "come back later" in got.error["message"]
        assert polls.asked() == 3


@pytest.mark.usefixtures("hasty")
async def test_a_poll_with_a_lost_connection_is_repeated() -> None:
    async with polled() as (ours, polls):
        lost: list[str] = []

        async def lose(request: web.Request) -> web.StreamResponse:
            if request.path == "/get" and not lost:
                lost.append(request.path)
                assert request.transport
                request.transport.abort()
            return await polls.reply(request)

        polls.fake.reply = lose
        assert (await drawn(ours)).status == 200
        assert polls.asked() == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_paid_request_is_sent_once(status: int) -> None:
    async with gateway_to(always({"error": {"message": "m"}}, status)) as (ours, fake):
        await ours.draw(virtual_key="up")
        assert len(fake.requests) == 1


async def test_errors_release_their_connections() -> None:
    async with gateway_to() as (ours, fake), asyncio.timeout(5):
        with_one_connection(ours)
        for status in (302, 400, 500, 200):
            fake.reply = always({"error": {"message": "m" * 90_000}}, status)
            await asyncio.gather(*(ours.draw(virtual_key="up") for _ in range(3)))
        assert len(fake.requests) == 12


async def test_a_providers_cookie_is_not_kept() -> None:
    async with gateway_to(always(ANSWER, set_cookie="session=1")) as (ours, fake):
        for _ in range(2):
            await ours.draw(virtual_key="up")
        assert not [it for it in fake.requests if "cookie" in it.headers]


def test_no_repr_shows_a_credential() -> None:
    whose = target()
    outgoing = SignableRequest("GET", "https://x", {"x-key": SECRET}, b"", 0)
    config = parse_config({"provider": "openai", "api_key": SECRET})
    for value in (whose, whose.credentials, outgoing, config, at("https://x")):
        assert SECRET not in f"{value!r} {value}"


SHORT = "pw12345"


async def test_a_dry_run_shows_no_secret_of_any_provider_however_short() -> None:
    for name in PROVIDERS:
        adapter = get_adapter(name)
        secrets = {option.name: SHORT for option in adapter.options if option.secret}
        others = {"automatic1111_user": "me", "aws_access_key_id": "id", "tencent_secret_id": "id"}
        declared = {it.name for it in adapter.options}
        options = secrets | {key: it for key, it in others.items() if key in declared}
        for given in ({}, options):
            where = Target(adapter, Credentials(SHORT, given), "https://example.com/v1")
            for path in ("/images", f"/images/{SHORT}?key={SHORT}&n=1"):
                request = ProviderRequest(path, json={"n": 1}, headers={"x-said": f"a {SHORT}"})
                shown = orjson.dumps(await describe_request(where, request)).decode()
                assert SHORT not in shown, name
                assert b64encode(f"me:{SHORT}".encode()).decode() not in shown, name
                headers = orjson.loads(shown)["headers"]
                outgoing = SignableRequest("POST", "https://example.com/v1", {}, b"", 0.0)
                signed = adapter.sign(outgoing, where.credentials)
                assert {headers[it].split()[-1] for it in signed} <= {"***"}, name


async def test_a_dry_run_masks_forwarded_credentials_and_leaves_the_rest() -> None:
    forwarded = {"x-api-key": "mine", "x-tenant": "t"}
    where = replace(target(), credentials=Credentials("a"), forwarded_headers=forwarded)
    shown = await describe_request(where, ProviderRequest("/images/available", json={}))
    assert shown["headers"]["x-api-key"] == shown["headers"]["x-key"] == "***"
    assert (shown["headers"]["x-tenant"], shown["headers"]["user-agent"]) == ("t", "easel")
    assert shown["url"] == "https://api.bfl.ai/v1/images/available"
