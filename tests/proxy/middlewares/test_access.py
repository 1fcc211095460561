"""Every response has a trace id and the gateway's headers; every request has an access line."""

from __future__ import annotations

import asyncio
import re

import orjson
from aiohttp import web

from proxy.context import IN_FLIGHT
from proxy.observability.access_log import ACCESS_LOG
from tests.support.gateway import (
    ANSWER,
    B64,
    KEY,
    SETTINGS,
    Gateway,
    always,
    gateway,
    gateway_to,
    json_reply,
    provider,
)

UP = {"virtual_key": "up"}


def line(ours: Gateway) -> dict[str, object]:
    ours.app[ACCESS_LOG].flush()
    found: dict[str, object] = orjson.loads(ours.log.getvalue().splitlines()[-1])
    return found


async def test_a_trace_id_is_echoed() -> None:
    async with gateway_to() as (ours, _):
        got = await ours.draw(trace_id="my trace/1", **UP)
        assert got.headers["x-portkey-trace-id"] == line(ours)["trace"] == "my trace/1"


async def test_a_trace_id_is_made_where_none_was_sent() -> None:
    async with gateway_to() as (ours, _):
        ids = {(await ours.draw(**UP)).headers["x-portkey-trace-id"] for _ in range(3)}
        assert len(ids) == 3
        assert all(ids)


async def test_every_portkey_header_is_on_a_success() -> None:
    async with gateway_to() as (ours, _):
        headers = (await ours.draw(**UP)).headers
        assert headers["x-portkey-provider"] == "openai"
        assert headers["x-portkey-last-used-option-index"] == "config"
        assert headers["x-portkey-retry-attempt-count"] == "0"
        assert headers["x-portkey-cache-status"] == "DISABLED"


async def test_every_portkey_header_is_on_a_providers_error_too() -> None:
    async with gateway_to(always({"error": {"message": "m"}}, 500)) as (ours, _):
        headers = (await ours.draw(**UP)).headers
        assert headers["x-portkey-provider"] == "openai"
        assert headers["x-portkey-trace-id"]


async def test_the_line_says_what_became_of_a_request() -> None:
    async with gateway_to() as (ours, _):
        await ours.draw(**UP)
        said = line(ours)
        assert (said["status"], said["path"]) == (200, "/v1/images/generations")
        assert (said["caller"], said["provider"], said["error"]) == ("test", "openai", "")


async def test_the_line_holds_no_prompt_key_picture_or_url_of_the_clients() -> None:
    async with gateway_to() as (ours, _):
        await ours.draw("a secret prompt", **UP)
        await ours.ask({"prompt": "x"}, path="/v1/a-secret-path?key=" + KEY)
        ours.app[ACCESS_LOG].flush()
        written = ours.log.getvalue()
        assert not any(word in written for word in ("secret", KEY, B64, "test-key-0123456789"))


async def test_the_line_names_the_job_and_whether_it_was_joined() -> None:
    async with gateway_to() as (ours, _):
        headers = (await ours.draw(idempotency_key="a-clients-key", **UP)).headers
        began = line(ours)
        await ours.draw(x_stainless_retry_count="1", **UP)
        joined = line(ours)
        assert began["job"] == joined["job"] == headers["x-easel-job"]
        assert (began["joined"], joined["joined"]) == ("", "done")
        await ours.ask(method="GET", path=f"/v1/images/jobs/{began['job']}")
        assert (line(ours)["job"], line(ours)["joined"]) == (began["job"], "")
        await ours.ask(method="GET", path="/healthz")
        assert line(ours)["job"] == ""
        assert "a-clients-key" not in ours.log.getvalue()


async def test_nothing_runs_once_everything_is_answered() -> None:
    async with gateway_to() as (ours, _):
        await asyncio.gather(*(ours.draw(**UP) for _ in range(5)))
        assert not ours.app[IN_FLIGHT]


async def test_the_line_says_what_was_tried_and_how_each_ended() -> None:
    asked: list[str] = []

    async def reply(request: web.Request) -> web.Response:
        asked.append(request.path)
        good = request.path.startswith("/b")
        return json_reply(ANSWER if good else {"error": {"message": "no"}}, 200 if good else 500)

    async with provider(reply) as fake:
        keys = "".join(
            f"  {it}: {{provider: openai, api_key: k, custom_host: '{fake.url}/{it}'}}\n"
            for it in "ab"
        )
        saved = """configs: {mine: {strategy: {mode: fallback}, targets: [
  {virtual_key: a, retry: {attempts: 1, on_status_codes: [500]}}, {virtual_key: b}]}}"""
        async with gateway(f"virtual_keys:\n{keys}{saved}") as ours:
            await ours.draw(config="mine")
            said = line(ours)
    assert said["config"] == "mine"
    assert isinstance(said["tried"], list)
    first, second = said["tried"]
    assert (first["target"], first["provider"]) == ("config.targets[0]", "openai")
    assert (first["status"], first["ended"], first["retries"]) == (500, "server_error", 1)
    assert (second["status"], second["ended"]) == (200, "ok")
    assert len(asked) == 3


async def test_the_line_says_sizes_and_times() -> None:
    async with gateway_to() as (ours, _):
        got = await ours.draw(**UP)
        said = line(ours)
    assert (said["images"], said["bytes_in"]) == (1, len(b'{"prompt":"a cube"}'))
    assert (said["bytes_out"], said["client"]) == (len(got.body), "127.0.0.1")
    assert said["queue_ms"] <= said["first_byte_ms"] <= said["ms"]  # type: ignore[operator] # numbers
    assert said["provider_ms"] <= said["ms"]  # type: ignore[operator] # the same


async def test_where_no_provider_was_asked_the_line_has_no_time_of_one() -> None:
    async with gateway_to() as (ours, _):
        await ours.draw(params={"prompt": 5}, **UP)
        assert not {"queue_ms", "provider_ms"} & line(ours).keys()


async def test_a_config_that_came_with_the_request_is_named_by_a_short_digest() -> None:
    async with gateway_to() as (ours, _):
        await ours.draw(config='{"virtual_key":"up"}')
        assert re.fullmatch("inline:[0-9a-f]{12}", str(line(ours)["config"]))


async def test_a_prompt_is_in_the_line_where_the_operator_wants_it_and_cut() -> None:
    keys = "virtual_keys: {draw: {provider: sandbox}}"
    base = SETTINGS.replace("format: json", "format: json, prompts: true")
    async with gateway(keys, base) as ours:
        await ours.draw("a cube " * 1000, virtual_key="draw", params={"size": "64x64"})
        assert line(ours)["prompt"] == ("a cube " * 1000)[:500]
