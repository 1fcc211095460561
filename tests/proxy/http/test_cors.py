"""Web pages of other origins: off by default, and every kind of answer where it is on."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.settings.loader import SettingsError, parse
from tests.support.gateway import PATH, SETTINGS, Gateway, gateway

PAGE, OTHER = "https://app.example", "https://evil.example"
BOX = "virtual_keys: {box: {provider: sandbox}}\n"
ALLOWED = BOX + f"server: {{cors_origins: [{PAGE}]}}\n"
SMALL = {"size": "16x16", "model": "@box/sandbox-1"}
ASKED = "authorization, content-type, X-Portkey-Api-Key, x-stainless-lang, x-evil, cookie"


async def preflight(
    ours: Gateway, origin: str, path: str = PATH, asked: str = ASKED
) -> tuple[int, dict[str, str]]:
    """Ask as a browser does before it sends a page's request, without a key."""
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": asked,
    }
    async with ours.session.options(ours.url + path, headers=headers) as got:
        named = {name.lower(): value for name, value in got.headers.items()}
        allowed = {name: it for name, it in named.items() if name.startswith("access-control-")}
        assert ("origin" in named.get("vary", "").lower()) or not allowed
        return got.status, allowed


async def test_it_is_off_by_default() -> None:
    async with gateway(BOX) as ours:
        assert await preflight(ours, PAGE) == (405, {})
        got = await ours.draw(params=SMALL, **{"x-origin": PAGE})
        assert "Access-Control-Allow-Origin" not in got.headers


async def test_a_preflight_of_an_allowed_origin_lists_names_one_by_one() -> None:
    async with gateway(ALLOWED) as ours:
        for path in (PATH, "/v1/models", "/v1/images/jobs/a"):
            status, headers = await preflight(ours, PAGE, path)
            assert status == 204, path
            assert headers["access-control-allow-origin"] == PAGE
            assert "POST" in headers["access-control-allow-methods"]
            assert headers["access-control-allow-headers"] == (
                "authorization, content-type, x-portkey-api-key, x-stainless-lang"
            )
            assert "access-control-allow-credentials" not in headers
            assert "*" not in headers["access-control-expose-headers"]


async def test_the_headers_of_sdks_in_a_browser_are_allowed() -> None:
    sent = (
        "user-agent, openai-organization, openai-project, openai-beta, x-requested-with, api-key, "
        "x-stainless-retry-count, idempotency-key, prefer, x-easel-dry-run, http-referer, x-title"
    )
    async with gateway(ALLOWED) as ours:
        _, headers = await preflight(ours, PAGE, asked=sent)
        assert headers["access-control-allow-headers"] == sent
        for other in ("cookie", "x-forwarded-for", "forwarded", "via", "*", "x-real-ip", "host"):
            _, headers = await preflight(ours, PAGE, asked=other)
            assert "access-control-allow-headers" not in headers, other


async def test_another_origin_is_told_nothing() -> None:
    async with gateway(ALLOWED) as ours:
        for origin in (OTHER, "null", PAGE + ".evil.example", "http://app.example", PAGE + ":1"):
            status, headers = await preflight(ours, origin)
            assert (status, headers) == (405, {}), origin


async def test_every_kind_of_answer_can_be_read() -> None:
    async with gateway(ALLOWED + "blobs: {}\n") as ours:
        url = (await ours.draw(params={**SMALL, "response_format": "url"})).json["data"][0]["url"]
        asked: tuple[tuple[str, str, Any, int], ...] = (
            ("POST", PATH, {"prompt": "a cube", **SMALL}, 200),
            ("POST", PATH, {"prompt": "a cube", **SMALL, "stream": True}, 200),
            ("POST", PATH, {"prompt": 1, **SMALL}, 400),
            ("POST", PATH, {"prompt": "a cube", "model": "@nope/x"}, 400),
            ("POST", "/v1/nowhere", {}, 404),
            ("GET", "/v1/models", None, 200),
            ("GET", "/v1/images/models", None, 200),
            ("GET", url.removeprefix(ours.url), None, 200),
        )
        for method, path, body, status in asked:
            for origin in (PAGE, OTHER):
                headers = {"origin": origin, "x-portkey-api-key": "easel-test-key-0123456789"}
                async with ours.session.request(
                    method, ours.url + path, json=body, headers=headers
                ) as got:
                    await got.read()
                    assert got.status == status, path
                    allowed = got.headers.get("Access-Control-Allow-Origin")
                    assert allowed == (PAGE if origin is PAGE else None), path
                    assert "Origin" in got.headers["Vary"]


async def test_a_stranger_on_an_allowed_page_gets_a_readable_401() -> None:
    async with (
        gateway(ALLOWED) as ours,
        ours.session.post(ours.url + PATH, json={}, headers={"origin": PAGE}) as got,
    ):
        assert (got.status, got.headers["Access-Control-Allow-Origin"]) == (401, PAGE)


@pytest.mark.parametrize(
    "origin", ["app.example", "https://app.example/", "https://*.example", "ftp://a", "https://A.b"]
)
def test_what_is_no_origin_is_refused_in_the_settings(origin: str) -> None:
    with pytest.raises(SettingsError, match="cors_origins"):
        parse(SETTINGS + f"server: {{cors_origins: ['{origin}']}}", environ={})


async def test_a_star_allows_every_page_by_name() -> None:
    async with gateway(BOX + "server: {cors_origins: ['*']}\n") as ours:
        _, headers = await preflight(ours, OTHER)
        assert headers["access-control-allow-origin"] == OTHER
