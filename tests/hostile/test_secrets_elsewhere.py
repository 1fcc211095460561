"""Case 23, 24: what else could tell a key or a prompt: jobs, faults, bugs, reprs, files, logs."""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from yarl import URL

from proxy.jobs.keys import JOBS
from proxy.settings.loader import SettingsError, parse
from tests.support import secret_markers
from tests.support.gateway import (
    KEY,
    PATH,
    Answered,
    Gateway,
    always,
    gateway,
    json_reply,
    key_to,
    provider,
)
from tests.support.providers import HeldProvider
from tests.support.repeating_provider import GOOD, watched
from tests.support.secret_markers import GATEWAY_KEY, PROMPT, STORED, keys_in, loose, told
from tests.support.single_gateway import running
from tests.support.waiting import until

UP = {"x_portkey_virtual_key": "up", "x_portkey_api_key": GATEWAY_KEY}
OTHER = {**UP, "x_portkey_api_key": secret_markers.OTHER_KEY}


async def drawn(ours: Gateway, **headers: str) -> Answered:
    return await ours.draw(PROMPT, **{**UP, **headers})


async def _slow(request: web.Request) -> web.Response:
    del request
    await asyncio.sleep(0.05)
    return json_reply(GOOD)


async def test_a_job_tells_nobody_but_its_caller() -> None:
    held = HeldProvider(orjson.dumps(GOOD))
    async with watched(held.reply) as (ours, _, sinks):
        begun = await drawn(ours, prefer="respond-async")
        place = begun.headers["location"]
        for method in ("GET", "DELETE"):
            foreign = await ours.ask(method=method, path=place, **OTHER)
            assert foreign.status == 404
            assert loose(told(foreign)) == []
        answers = [begun, await ours.ask(method="GET", path=place, **UP)]
        held.release.set()
        await until(lambda: ours.app[JOBS].running_count == 0)
        answers += [await ours.ask(method=it, path=place, **UP) for it in ("GET", "DELETE", "GET")]
        assert [it.status for it in answers] == [202, 202, 200, 204, 404]
        assert not [it for it in answers if keys_in(told(it)) or "PROMPTMARK" in told(it)]
    assert loose(sinks.text) == []


async def test_an_answer_that_was_kept_is_only_for_who_asked() -> None:
    config = orjson.dumps({"virtual_key": "up", "cache": {"mode": "simple"}}).decode()
    kept = {"x_portkey_config": config, "x_portkey_virtual_key": ""}
    async with watched(always(GOOD)) as (ours, fake, sinks):
        answers = [await drawn(ours, **kept) for _ in range(3)]
        assert {it.status for it in answers} == {200}
        assert not [it for it in answers if keys_in(told(it))]
        assert (await ours.draw(PROMPT, **{**OTHER, **kept})).status == 200
        assert len(fake.requests) >= 2
    assert loose(sinks.text) == []


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/readyz?verbose", {}),
        ("GET", "/v1/models", {}),
        ("GET", "/v1/images/models", {}),
        ("GET", f"/v1/images/models/{STORED}/x", {}),
        ("GET", f"/{GATEWAY_KEY}?key={GATEWAY_KEY}", {}),
        ("GET", f"/v1/images/jobs/{GATEWAY_KEY}", {}),
        ("DELETE", f"/v1/cache?namespace={GATEWAY_KEY}", {}),
        ("PUT", "/v1/models", {}),
        ("POST", "/v1/images/generations", {"x_portkey_api_key": STORED}),
        ("POST", "/v1/images/generations", {"x_portkey_virtual_key": STORED}),
        ("POST", "/v1/images/generations", {"x_portkey_provider": STORED}),
        ("POST", "/v1/images/generations", {"x_portkey_config": STORED}),
        ("POST", "/v1/images/generations", {"x_portkey_custom_host": f"http://x:{STORED}@y"}),
        ("POST", "/v1/images/generations", {"content_type": f"text/{STORED[:9]}"}),
        ("POST", "/v1/images/generations", {"x_portkey_request_timeout": STORED}),
        ("POST", "/v1/images/generations", {"x_portkey_metadata": STORED}),
    ],
)
async def test_no_refusal_repeats_a_key(method: str, path: str, headers: dict[str, str]) -> None:
    async with watched(always(GOOD)) as (ours, _, sinks):
        body = {"prompt": PROMPT} if method == "POST" else None
        answer = await ours.ask(body, method=method, path=path, **{**UP, **headers})
        assert not {"KEYMARK", "PROMPTMARK"} & {*loose(told(answer))}
    assert loose(sinks.text) == []


_KEYED = {"provider": "openai", "api_key": secret_markers.INLINE}


@pytest.mark.parametrize(
    "config",
    [
        {**_KEYED, "api_key": f"{secret_markers.INLINE} \u00e9"},
        {**_KEYED, "retry": secret_markers.INLINE},
        {**_KEYED, "custom_host": f"https://u:{secret_markers.INLINE}@h/"},
        {**_KEYED, "aws_region": secret_markers.INLINE},
        {**_KEYED, "openai_project": f"\n{secret_markers.INLINE}"},
        {"strategy": {"mode": secret_markers.INLINE}, "targets": [_KEYED]},
        {"targets": [_KEYED, {"provider": secret_markers.INLINE}]},
        {"virtual_key": secret_markers.INLINE},
        {**_KEYED, "cache": {"mode": secret_markers.INLINE}},
        {**_KEYED, "override_params": {"size": secret_markers.INLINE, "n": secret_markers.INLINE}},
        {"api_key": secret_markers.INLINE},
    ],
    ids=str,
)
async def test_no_fault_of_a_config_repeats_its_key(config: dict[str, Any]) -> None:
    async with watched(always(GOOD)) as (ours, _, sinks):
        headers = {**UP, "x_portkey_virtual_key": ""}
        text = orjson.dumps(config).decode().encode("ascii", "backslashreplace").decode()
        for sent in (text, text[:-1]):
            answer = await ours.draw(PROMPT, **{**headers, "x_portkey_config": sent})
            assert answer.status >= 400
            assert loose(told(answer)) == []
    assert loose(sinks.text) == []


@pytest.mark.parametrize(
    "text",
    [
        f"redis: {{url: 'http://:{secret_markers.PASSWORD}@h'}}",
        f"redis: {{url: ['redis://:{secret_markers.PASSWORD}@h']}}",
        "blobs: {signing_key: KEYMARK}",
        f"blobs: {{signing_key: [{secret_markers.SIGNING}]}}",
        f"blobs: {secret_markers.SIGNING}",
        f"api_keys: {{a: {{key: [{GATEWAY_KEY}]}}}}",
        f"api_keys: {{a: {{key: '{GATEWAY_KEY} x'}}}}",
        f"api_keys: {{a: {{key: sha256:{GATEWAY_KEY}}}}}",
        f"api_keys: {{a: {{key: {GATEWAY_KEY}}}, b: {{key: {GATEWAY_KEY}}}}}",
        f"api_keys: {{a: {GATEWAY_KEY}}}",
        f"api_keys: [{GATEWAY_KEY}]",
        f"api_keys: {{a: {{config: {GATEWAY_KEY}}}}}",
        f"virtual_keys: {{a: {{provider: openai, api_key: [{STORED}]}}}}",
        f"virtual_keys: {{a: {{provider: openai, api_key: '{STORED} x'}}}}",
        f"virtual_keys: {{a: {{provider: {STORED}}}}}",
        f"virtual_keys: {{a: {{provider: openai, custom_host: 'http://x:{STORED}@y'}}}}",
        f"virtual_keys: {{a: {{provider: bedrock, aws_region: {STORED}}}}}",
        f"virtual_keys: {{a: {STORED}}}",
        f"configs: {{a: {{provider: openai, api_key: '{STORED} x'}}}}",
        f"configs: {{a: {{provider: openai, retry: {STORED}}}}}",
        f"configs: {{a: {{virtual_key: {STORED}}}}}",
        f"trusted_custom_hosts: ['{STORED}']",
        f"virtual_keys: {{a: {{api_key: '{STORED}",
        f"virtual_keys: {{a: {{api_key: *{STORED}}}}}",
        f"virtual_keys:\n  a: &x {STORED}\n  b: !{STORED} y\n",
        f"virtual_keys:\n\ta: {STORED}",
        f"a: {STORED}: b",
        "virtual_keys: {a: {provider: openai, api_key: '${SECRET} x'}}",
        "redis: {url: '${SECRET}'}",
        f"${{{STORED}}}",
    ],
)
def test_no_fault_of_the_settings_repeats_a_secret(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text, environ={"SECRET": secret_markers.PASSWORD})
    assert keys_in(str(caught.value)) == []
    assert "KEYMARK" not in str(caught.value)


_WORDS = f"{PROMPT} {STORED} {GATEWAY_KEY}"


def _broken(*_: Any, **__: Any) -> Any:
    raise ValueError(_WORDS)


@pytest.mark.parametrize(
    "place",
    [
        "pipeline.execute.final_params",
        "pipeline.converse._deliver_all",
        "jobs.recording.Recording.append",
    ],
)
async def test_a_bug_is_told_by_its_place(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"proxy.{place}", _broken)
    async with watched(always(GOOD)) as (ours, _, sinks):
        for headers in ({}, {"x_easel_keepalive": "1"}, {"prefer": "respond-async"}):
            with suppress(aiohttp.ClientError):  # an answer that was cut says nothing
                assert loose(told(await drawn(ours, **headers))) == []
        await until(lambda: ours.app[JOBS].running_count == 0)
        await ours.access_log()
    assert loose(sinks.text) == []


async def test_a_bug_in_mid_answer_is_told_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    original = web.StreamResponse.write_eof

    async def broken(self: web.StreamResponse, data: bytes = b"") -> None:
        if self.headers.get("x-portkey-provider"):
            raise ValueError(_WORDS)
        await original(self, data)

    monkeypatch.setattr(web.StreamResponse, "write_eof", broken)
    async with watched(always(GOOD)) as (ours, _, sinks):
        with pytest.raises(aiohttp.ClientError):
            await drawn(ours)
        await ours.access_log()
    assert loose(sinks.text) == []


async def test_no_value_of_ours_shows_a_secret() -> None:
    config = orjson.dumps(
        {
            "targets": [
                {
                    "provider": "openai",
                    "api_key": secret_markers.INLINE,
                    "cache": {"mode": "simple"},
                }
            ]
        }
    ).decode()
    # What other tests left holds what their providers repeated.
    others = [it for it in gc.get_objects() if _is_ours(it)]
    known = {*map(id, others)}
    async with watched(_slow) as (ours, _, sinks):
        await ours.draw(PROMPT, **{**UP, "x_portkey_config": config, "x_portkey_virtual_key": ""})
        await drawn(ours, prefer="respond-async")
        for _ in range(3):
            await asyncio.sleep(0.03)
            ours_alone = [it for it in gc.get_objects() if _is_ours(it) and id(it) not in known]
            sinks.reprs += [repr(it) for it in ours_alone]
        assert len(ours_alone) > 100
    assert loose(sinks.text) == []


def _is_ours(thing: object) -> bool:
    return str(type(thing).__module__).partition(".")[0] in ("proxy", "adapters")


async def test_what_a_process_leaves_holds_no_key_and_no_prompt(tmp_path: Path) -> None:
    async with provider(_slow) as fake:
        stored = f"{{provider: openai, api_key: {STORED}, custom_host: {fake.url}/v1}}"
        async with running(tmp_path, f"virtual_keys: {{up: {stored}}}") as easel:
            headers = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "up"}
            headers |= {"prefer": "respond-async", "idempotency-key": "mine"}
            body = {"prompt": PROMPT}
            async with easel.session.post(easel.url + PATH, json=body, headers=headers) as got:
                assert got.status == 202
            address = URL(easel.url)
            _, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(
                f"GET /{STORED} HTTP/9.9 {PROMPT}\r\n{GATEWAY_KEY}\x00: {STORED}\n\n".encode()
            )
            writer.close()
            easel.tell()
            status, out, err = await easel.end()
    folder = tmp_path / ".easel"
    names = [name for _, folders, files in os.walk(folder) for name in folders + files]
    assert (status, len(names)) == (0, 4)
    manifests = [it.read_text("utf-8") for it in folder.glob("jobs/*.json")]
    said = "\n".join([out, err, *names, *manifests])
    assert loose(said) == []
    assert KEY not in said


ODD_KEY = "sk-test+key/0123456789"
SPELLINGS = {
    "plain": ODD_KEY,
    "an escaped plus": ODD_KEY.replace("+", r"\u002b"),
    "in capitals": ODD_KEY.replace("+", r"\u002B"),
    "an escaped slash": ODD_KEY.replace("/", r"\/"),
    "all escaped": "".join(rf"\u{ord(it):04x}" for it in ODD_KEY),
}
WAYS_BACK: dict[str, tuple[int, str, str, bool]] = {
    "an error": (401, "application/json", '{"error":{"message":"no KEY","type":"t"}}', False),
    "an error in a success": (200, "application/json", '{"error":{"message":"no KEY"}}', False),
    "a long reply": (200, "application/json", f'{{"data":["{"A" * 200_000}"],"k":"KEY"}}', False),
    "an event": (200, "text/event-stream", 'data: {"error":{"message":"KEY"}}\n\n', False),
    "a compressed error": (401, "application/json", '{"error":{"message":"no KEY"}}', True),
    "a compressed event": (200, "text/event-stream", 'data: {"message":"KEY"}\n\n', True),
}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize(("status", "kind", "text", "packed"), WAYS_BACK.values(), ids=WAYS_BACK)
async def test_a_key_is_redacted_however_it_is_written(
    spelled: str, status: int, kind: str, text: str, *, packed: bool
) -> None:
    async def repeating(request: web.Request) -> web.Response:
        del request
        body = text.replace("KEY", spelled).encode()
        headers = {"content-type": kind, **({"content-encoding": "gzip"} if packed else {})}
        return web.Response(
            body=gzip.compress(body) if packed else body, status=status, headers=headers
        )

    async with provider(repeating) as fake, gateway(key_to(fake, ODD_KEY)) as ours:
        got = await ours.draw(params={"stream": "event" in kind}, virtual_key="up")
        assert "content-encoding" not in got.headers
        assert spelled.encode() not in got.body
        assert ODD_KEY not in got.body.decode().replace(r"\u002b", "+").replace(r"\/", "/")
        assert b"**" in got.body


async def test_a_key_in_an_error_page_is_redacted() -> None:
    pages = ("<html><title>no KEY</title></html>", "<Error><Message>no KEY</Message></Error>")
    spellings = (ODD_KEY.replace("+", "&#43;"), ODD_KEY.replace("+", "&plus;"), ODD_KEY)
    for page in pages:
        for spelled in spellings:

            async def repeating(
                request: web.Request, body: str = page, it: str = spelled
            ) -> web.Response:
                del request
                return web.Response(
                    text=body.replace("KEY", it), status=400, content_type="text/html"
                )

            async with provider(repeating) as fake, gateway(key_to(fake, ODD_KEY)) as ours:
                got = await ours.draw(virtual_key="up")
                assert "no ***" in got.error["message"], (page, spelled)
                assert not [it for it in gc.get_objects() if _is_ours(it) and ODD_KEY in repr(it)]
