"""Other settings take the place of those in force between two requests, and all at once."""

from __future__ import annotations

import asyncio
import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.app import make_app
from proxy.reload.live_settings import LIVE_SETTINGS, LiveSettings, apply
from proxy.reload.snapshot import SettingsSnapshot
from proxy.settings.loader import Settings, key_digest, parse, settings_version
from tests.support.gateway import (
    ANSWER,
    KEY,
    OTHER_KEY,
    SETTINGS,
    Answered,
    Gateway,
    always,
    gateway,
    gateway_to,
    json_reply,
    key_to,
)

BREAKS = """
configs:
  pc:
    strategy: {mode: fallback}
    targets:
      - {virtual_key: up, cb_config: {failure_threshold: 1, minimum_requests: 1}}
      - {virtual_key: up, override_params: {model: other}}
"""


OTHER = f", other: {{key: {OTHER_KEY}}}"


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "easel")


async def verbose(ours: Gateway, part: str = "settings") -> Any:
    got = await ours.ask(method="GET", path="/readyz?verbose")
    assert got.status == 200
    return got.json[part]


async def test_a_request_ends_with_the_settings_that_it_began_with() -> None:
    async def reply(request: web.Request) -> web.Response:
        del request
        ours.app[LIVE_SETTINGS].snapshot = SettingsSnapshot(Settings())
        return json_reply(ANSWER)

    async with gateway_to(reply) as (ours, _):
        assert (await ours.draw(virtual_key="up", params={"response_format": "url"})).status == 200
        assert (await ours.draw(virtual_key="up")).status == 401


async def test_what_is_added_is_there_and_what_is_removed_is_not() -> None:
    async with gateway_to() as (ours, fake):
        keys = key_to(fake).replace("up:", "new:")
        assert await ours.reload(keys) == []
        assert (await ours.draw(virtual_key="new")).status == 200
        gone = await ours.draw(virtual_key="up")
        assert (gone.status, gone.error["code"]) == (400, "unknown_virtual_key")
        listed = (await ours.ask(method="GET", path="/v1/models")).json["data"]
        assert {it["id"].partition("/")[0] for it in listed} <= {"@new"}


async def test_the_line_of_a_good_reload_says_names_and_no_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with gateway_to() as (ours, fake):
        keys = key_to(fake, "sk-rotated-0123456789").replace("up:", "new:")
        await ours.reload(
            keys, base=SETTINGS.replace(KEY, "easel-quite-another-key").replace(OTHER, "")
        )
        reloading = ours.app[LIVE_SETTINGS]
        (line,) = caplog.messages
        assert line == (
            f"settings reloaded, version {reloading.version}; api_keys: removed other, "
            "changed test; virtual_keys: added new, removed up"
        )


async def test_a_bad_text_keeps_the_last_good_one_and_every_problem_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = "server: {port: nonsense-value}\nvirtual_kees: {}\n"
    async with gateway_to() as (ours, _):
        version = ours.app[LIVE_SETTINGS].version
        problems = await ours.reload(bad)
        assert [it.partition(": ")[2].partition(":")[0] for it in problems] == [
            "server.port",
            "virtual_kees",
        ]
        assert (await ours.draw(virtual_key="up")).status == 200
        [line] = caplog.messages
        assert all(it in line for it in problems)
        assert "nonsense" not in line
        told = await verbose(ours)
        assert (told["version"], told["last_reload"], told["problems"]) == (
            version,
            "bad",
            problems,
        )
        assert told["reloads"] == {"good": 0, "bad": 1}


async def test_a_good_text_after_a_bad_one_ends_the_trouble() -> None:
    async with gateway_to() as (ours, fake):
        before = await verbose(ours)
        await ours.reload("nonsense: 1")
        await ours.reload(key_to(fake) + "# another version")
        told = await verbose(ours)
        assert (told["last_reload"], told["problems"]) == ("good", [])
        assert told["version"] == settings_version(SETTINGS + key_to(fake) + "# another version")
        assert told["version"] != before["version"]
        assert told["loaded_at"] >= before["loaded_at"]


async def test_who_has_no_key_learns_nothing_of_the_settings() -> None:
    async with gateway() as ours:
        got = await ours.ask(method="GET", path="/readyz?verbose", api_key="easel-nobodys-own-key")
        assert got.status == 401
        assert (await ours.ask(method="GET", path="/readyz", api_key="")).json.keys() == {"status"}


@pytest.mark.parametrize("text", ["", " \n", "log: {format: json}", "api_keys: {}"])
async def test_a_text_that_lets_nobody_in_is_a_bad_one(text: str) -> None:
    async with gateway_to() as (ours, _):
        assert len(await ours.reload(text, base="")) == 1
        assert (await ours.draw(virtual_key="up")).status == 200


async def test_the_key_of_this_machine_stays_where_the_file_has_none() -> None:
    read = parse("log: {format: none}", environ={})
    own = replace(read, api_keys={key_digest(KEY): "local"}, file_settings=read)
    reloading = LiveSettings(own)
    assert await reloading.apply("virtual_keys: {s: {provider: sandbox}}", "f") == []
    assert reloading.snapshot.settings.api_keys == own.api_keys
    await reloading.apply("api_keys: {a: {key: easel-quite-another-key}}", "f")
    assert reloading.snapshot.settings.api_keys == {key_digest("easel-quite-another-key"): "a"}
    await reloading.apply("virtual_keys: {s: {provider: sandbox}}", "f")
    assert reloading.snapshot.settings.api_keys == own.api_keys


async def test_a_credential_that_was_rotated_is_used_by_the_next_call() -> None:
    async with gateway_to() as (ours, fake):
        await ours.draw(virtual_key="up")
        await ours.reload(key_to(fake, "sk-rotated-0123456789"))
        await ours.draw(virtual_key="up")
        sent = [it.headers["authorization"].removeprefix("Bearer ") for it in fake.requests]
        assert sent == ["test-key-0123456789", "sk-rotated-0123456789"]


async def test_what_waits_for_a_restart_is_named_and_the_rest_is_applied(
    caplog: pytest.LogCaptureFixture,
) -> None:
    more = "server: {port: 9}\nlimits: {jobs: 7, images: 1}\nstate_dir: elsewhere\n"
    async with gateway_to() as (ours, fake):
        await ours.reload(key_to(fake) + more)
        assert (await ours.draw(virtual_key="up", params={"n": 2})).status == 400
        waiting = ["server.port", "limits.jobs", "state_dir"]
        assert (await verbose(ours))["waiting_for_restart"] == waiting
        assert f"; restart required for: {', '.join(waiting)}" in caplog.text
        in_force = ours.app[LIVE_SETTINGS].snapshot.settings
        assert (in_force.server.port, in_force.limits.jobs) == (8787, 1000)
        await ours.reload(key_to(fake))
        assert (await verbose(ours))["waiting_for_restart"] == []


async def opened(ours: Gateway) -> None:
    """Send requests to a failing first target until its circuit opens."""
    for _ in range(2):
        await ours.draw(config="pc")
    assert await verbose(ours, "circuits") == {"saved:pc:config.targets[0]": "open"}


def is_second(got: Answered) -> bool:
    index: str = got.headers["x-portkey-last-used-option-index"]
    return index == "config.targets[1]"


async def test_the_circuit_of_what_has_not_changed_stays_open_and_of_what_has_closes() -> None:
    async def reply(request: web.Request) -> web.Response:
        other = (await request.json()).get("model") == "other"
        return json_reply(ANSWER if other else {"error": {"message": "no"}}, 200 if other else 503)

    async with gateway_to(reply, BREAKS) as (ours, fake):
        await opened(ours)
        await ours.reload(key_to(fake) + BREAKS + "images: {comment_seconds: 9}")
        before = len(fake.requests)
        assert is_second(await ours.draw(config="pc"))
        assert len(fake.requests) == before + 1
        fake.reply = always(ANSWER)
        await ours.reload(key_to(fake, "sk-rotated-0123456789") + BREAKS)
        assert not is_second(await ours.draw(config="pc"))


async def test_the_circuits_of_a_config_that_is_gone_are_not_shown() -> None:
    async with gateway_to(always({"error": {"message": "no"}}, 503), BREAKS) as (ours, fake):
        await opened(ours)
        await ours.reload(key_to(fake))
        assert await verbose(ours, "circuits") == {}


async def test_a_file_of_prices_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    more = f"prices: {file}\n"
    file.write_text("openai: {m: 0.25}")
    async with gateway_to(more=more) as (ours, fake):
        seen = []
        for price in ("0.25", "0.5"):
            file.write_text(f"openai: {{m: {price}}}")
            await ours.reload(key_to(fake) + more)
            params = {"model": "m"}
            got = await ours.draw(virtual_key="up", params=params, x_easel_dry_run="true")
            seen.append(got.json["price"]["usd"])
        assert seen == [0.25, 0.5]
        file.write_text("{")
        assert len(await ours.reload(key_to(fake) + more)) == 1
        assert ours.app[LIVE_SETTINGS].files == (str(file),)


async def test_a_worker_applies_a_text_by_its_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app(parse(SETTINGS, environ={}), log_to=io.StringIO())
    assert await apply(app, SETTINGS + "images: {incomplete: fail}", "f.yaml") == []
    assert app[LIVE_SETTINGS].snapshot.settings.images.incomplete == "fail"
    [problem] = await apply(app, SETTINGS + "images: {incomplete: x}", "f.yaml")
    assert (problem.file, problem.line, problem.key) == ("f.yaml", 4, "images.incomplete")
    assert app[LIVE_SETTINGS].snapshot.settings.images.incomplete == "fail"
    assert len(caplog.messages) == 2


async def test_texts_are_applied_in_the_order_in_which_they_came() -> None:
    reloading = LiveSettings(parse(SETTINGS, environ={}))
    slow = SETTINGS + "configs:\n" + "".join(f"  c{i}: {{}}\n" for i in range(3000))
    first, second = reloading.apply(slow, "f"), reloading.apply(SETTINGS, "f")
    tasks = [asyncio.create_task(it) for it in (first, second)]
    await asyncio.gather(*tasks)
    assert reloading.snapshot.settings.configs == {}
    assert reloading.reloads_good == 2
