"""Nothing that is not whole ends cleanly, and nothing that is whole is lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.jobs.keys import JOBS
from proxy.pipeline.completeness import EventScan, JsonNesting
from proxy.upstream.client import PROVIDER_CLIENT
from tests.support.gateway import B64, OURS, PATH, Answered, Gateway, gateway
from tests.support.raw_http import gateway_at, wire

UP = {"virtual_key": "up"}
LONG = B64[:-4] + "A" * 300_000
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CACHED = orjson.dumps({"virtual_key": "up", "cache": {"mode": "simple"}}).decode()
PREVIEW = (
    b"event: image_generation.partial_image\n"
    b'data: {"type":"image_generation.partial_image","b64_json":"%s","partial_image_index":0}\n\n'
) % B64.encode()
FINISHED = (
    b"event: image_generation.completed\n"
    b'data: {"type":"image_generation.completed","b64_json":"%s","usage":{"total_tokens":3}}\n\n'
) % B64.encode()
REPORT = b'event: error\ndata: {"type":"error","error":{"message":"No.","code":"server_error"}}\n\n'
JSON = b'{"created":1,"data":[{"b64_json":"%s"}],"usage":{"total_tokens":3}}' % LONG.encode()


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _chunked(body: bytes) -> bytes:
    return b"transfer-encoding: chunked\r\n\r\n" + _chunk(body)


def _announced(body: bytes, missing: int = 0) -> bytes:
    return b"content-length: %d\r\n\r\n%b" % (len(body) + missing, body)


async def _stream(ours: Gateway, **more: str) -> Answered | None:
    """Ask for events; return None if the connection was cut."""
    try:
        return await ours.draw(params={"stream": True}, **{**UP, **more})
    except aiohttp.ClientPayloadError:
        return None


def _assert_failed(ours: Gateway, name: str) -> None:
    assert [job.status for job in ours.app[JOBS].all()] == ["failed"], name


async def test_stream_without_finished_image_is_a_failure() -> None:
    cut = PREVIEW + FINISHED[:-60]
    cases: dict[str, tuple[bytes, str]] = {
        "closed after a preview": (b"connection: close\r\n\r\n" + PREVIEW, "close"),
        "reset after a preview": (_announced(PREVIEW, 9), "reset"),
        "right length after a preview": (_announced(PREVIEW), "close"),
        "truncated with the right length": (_announced(cut), "close"),
        "truncated, then a blank line": (_announced(cut + b"\n\n"), "close"),
        "chunks that end without an end": (_chunked(PREVIEW), "close"),
        "whole chunks": (_chunked(PREVIEW) + b"0\r\n\r\n", "close"),
        "[DONE] alone": (_announced(PREVIEW + b"data: [DONE]\n\n"), "close"),
        "completed without an image": (
            _announced(b'data: {"type":"image_generation.completed","b64_json":""}\n\n'),
            "close",
        ),
        "comments": (_announced(b": hello\n\n" * 3), "close"),
        "an error after a preview": (_announced(PREVIEW + REPORT), "close"),
        "an error in chunks": (_chunked(PREVIEW) + _chunk(REPORT) + b"0\r\n\r\n", "close"),
    }
    for name, (rest, then) in cases.items():
        pieces = (STREAM_HEAD + rest,)
        async with wire(*pieces, then=then) as url, gateway_at(url) as ours:
            got = await _stream(ours, config=CACHED)
            assert got is None or got.status == 502 or got.body.count(b"event: error") == 1, name
            _assert_failed(ours, name)
            again = await _stream(ours, config=CACHED)
            assert again is None or again.headers["x-portkey-cache-status"] == "MISS", name


async def test_stream_that_ends_after_its_head_was_sent_gets_one_error_event() -> None:
    for name, (first, *others), then in (
        ("closed", (b"connection: close\r\n\r\n", PREVIEW), "close"),
        ("cut chunks", (_chunked(PREVIEW),), "reset"),
        ("reported", (_chunked(PREVIEW), _chunk(REPORT) + b"0\r\n\r\n"), "close"),
    ):
        async with (
            wire(STREAM_HEAD + first, *others, then=then, pause=0.05) as url,
            gateway_at(url) as ours,
        ):
            got = await _stream(ours)
            assert got, name
            assert (got.status, got.body.count(b"event: error")) == (200, 1), name
            assert got.body.startswith(PREVIEW), name
            _assert_failed(ours, name)
            line = orjson.loads(await ours.access_log())
            assert line["error"] in ("connection_lost", "server_error"), name


async def test_stream_cut_inside_an_event_is_cut_for_the_client() -> None:
    rest = b"connection: close\r\n\r\n" + PREVIEW + FINISHED[:-60]
    async with wire(STREAM_HEAD, rest, pause=0.05) as url, gateway_at(url) as ours:
        assert await _stream(ours) is None
        _assert_failed(ours, "cut")
        retry = await ours.draw(params={"stream": True}, x_stainless_retry_count="1", **UP)
        assert (retry.status, retry.error["code"]) == (502, "connection_lost")
        assert retry.headers["x-should-retry"] == "false"


async def test_stream_with_its_image_survives_what_follows() -> None:
    cases = {
        "reset": (_announced(PREVIEW + FINISHED, 99), "reset"),
        "chunks without an end": (_chunked(FINISHED), "close"),
        "[DONE]": (_announced(FINISHED + b"data: [DONE]\n\n"), "close"),
        "[DONE] without a line end": (_announced(FINISHED + b"data: [DONE]"), "close"),
        "no blank line": (_announced(FINISHED.rstrip()), "close"),
        "carriage returns": (_announced(FINISHED.replace(b"\n", b"\r\n")), "close"),
        "no names": (_announced(b"data: " + FINISHED.partition(b"data: ")[2]), "close"),
    }
    for name, (rest, then) in cases.items():
        async with wire(STREAM_HEAD + rest, then=then) as url, gateway_at(url) as ours:
            got = await _stream(ours)
            assert got, name
            assert b"event: error" not in got.body, name
            assert b".completed" in got.body, name
            assert got.body.endswith((b"\n\n", b"\r\n\r\n", b"[DONE]")), name
            assert [job.status for job in ours.app[JOBS].all()] == ["done"], name


async def test_json_that_is_not_whole_is_cut() -> None:
    inner = JSON[: JSON.rindex(b"}")]
    cases: dict[str, tuple[bytes, str]] = {
        "reset without length": (b"connection: close\r\n\r\n" + JSON[:200_000], "reset"),
        "closed without length": (b"connection: close\r\n\r\n" + JSON[:200_000], "close"),
        "truncated with the right length": (_announced(JSON[:200_000]), "close"),
        "closed after an inner object": (b"connection: close\r\n\r\n" + inner, "close"),
        "cut chunks": (_chunked(JSON[:200_000]), "reset"),
    }
    for name, (rest, then) in cases.items():
        async with wire(JSON_HEAD + rest, then=then) as url, gateway_at(url) as ours:
            # A connection that breaks off at once is known before anything is sent.
            with contextlib.suppress(aiohttp.ClientPayloadError):
                assert (await ours.draw(config=CACHED)).status == 502, name
            _assert_failed(ours, name)
            retry = await ours.draw(x_stainless_retry_count="1", config=CACHED)
            assert (retry.status, retry.error["code"]) == (502, "connection_lost"), name
            assert retry.headers["x-should-retry"] == "false", name


async def test_whole_json_survives_what_follows() -> None:
    for name, rest, then in (
        ("closed without length", b"connection: close\r\n\r\n" + JSON + b"\n", "close"),
        ("chunks without an end", _chunked(JSON), "close"),
        ("chunks that are reset", _chunked(JSON), "reset"),
    ):
        async with wire(JSON_HEAD + rest, then=then, pause=0.05) as url, gateway_at(url) as ours:
            got = await ours.draw(**UP)
            assert (got.status, got.body.rstrip()) == (200, JSON), name


def _let_connections_end(patch: pytest.MonkeyPatch, ours: Gateway) -> None:
    """Let every response start only once the provider's connection has ended."""
    prepare, connectors = web.StreamResponse.prepare, ours.app[PROVIDER_CLIENT].connectors

    async def prepare_late(response: web.StreamResponse, request: web.BaseRequest) -> Any:
        async with asyncio.timeout(10):
            while connectors.connections()["used"]:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.005)
        return await prepare(response, request)

    patch.setattr(web.StreamResponse, "prepare", prepare_late)


async def test_what_arrived_before_the_connection_ended_is_read() -> None:
    text = b'{"created":1,"data":[{"b64_json":"%s"}]}' % LONG[:100_000].encode()
    late = PREVIEW + FINISHED
    for then in ("reset", "close"):
        for name, head, body, params in (
            ("JSON", JSON_HEAD, text, {}),
            ("events", STREAM_HEAD, late, {"stream": True}),
        ):
            whole = _chunked(body)
            async with (
                wire(head + whole[:-40], whole[-40:], then=then, pause=0.01) as url,
                gateway_at(url) as ours,
            ):
                with pytest.MonkeyPatch.context() as patch:
                    _let_connections_end(patch, ours)
                    got = await ours.draw(params=params, **UP)
                assert (got.status, got.body) == (200, body), (name, then)
                assert [job.status for job in ours.app[JOBS].all()] == ["done"], (name, then)


async def test_truncated_success_of_any_form_is_not_asked_for_again() -> None:
    short = b'{"created":1,"data":[{"b64_json":"%s"}]}' % B64.encode()
    cases = {
        "object": (JSON_HEAD, short[:60]),
        "object without its last brace": (JSON_HEAD, short[:-1]),
        "blanks before it": (JSON_HEAD, b"\r\n " + short[:60]),
        "byte order mark": (JSON_HEAD, b"\xef\xbb\xbf" + short[:60]),
        "list": (JSON_HEAD, b"[" + short),
        "events": (STREAM_HEAD, FINISHED[:90]),
        "events, then a blank line": (STREAM_HEAD, FINISHED[:90] + b"\n\n"),
        "a preview alone": (STREAM_HEAD, PREVIEW),
        "a preview and [DONE]": (STREAM_HEAD, PREVIEW + b"data: [DONE]\n\n"),
        "events without their type": (JSON_HEAD, PREVIEW + FINISHED[:90]),
    }
    for name, (head, body) in cases.items():
        for rest in (_announced(body), b"connection: close\r\n\r\n" + body):
            async with wire(head + rest) as url, gateway_at(url) as ours:
                got = await ours.draw(**UP)
                assert (got.status, got.error["code"]) == (502, "connection_lost"), name
                assert got.headers["x-should-retry"] == "false", name


async def test_converted_stream_ends_like_a_relayed_one() -> None:
    index = FINISHED.replace(b'"b64_json"', b'"partial_image_index":0,"b64_json"')
    cases: dict[str, tuple[bytes, str, bool]] = {
        "whole": (_announced(FINISHED), "close", True),
        "reset after the image": (_announced(FINISHED, 9), "reset", True),
        "chunks without an end": (_chunked(FINISHED), "close", True),
        "cut after the image": (_announced(FINISHED + FINISHED[:60]), "close", True),
        "the index of a preview": (_announced(index), "close", True),
        "a preview alone": (_announced(PREVIEW), "close", False),
        "a preview without its index": (
            _announced(PREVIEW.replace(b',"partial_image_index":0', b"")),
            "close",
            False,
        ),
        "cut in the image": (_announced(FINISHED[:90]), "close", False),
        "cut in the image, reset": (_announced(FINISHED[:90], 9), "reset", False),
    }
    stored = "{provider: byteplus, api_key: test-key-0123456789, custom_host: '%s'}"
    params = {"model": "seedream-4-5-251128", "stream": True}
    for name, (rest, then, is_whole) in cases.items():
        async with (
            wire(STREAM_HEAD + rest, then=then) as url,
            gateway(f"virtual_keys: {{up: {stored % url}}}\n") as ours,
        ):
            got = await ours.draw(params=params, **UP)
            assert (b".completed" in got.body) is is_whole, name
            assert (b"event: error" in got.body or got.status == 502) is not is_whole, name
            assert b"connection_lost" in got.body or is_whole, name
            status = "done" if is_whole else "failed"
            assert [job.status for job in ours.app[JOBS].all()] == [status], name


async def test_unasked_completed_event_with_the_index_of_a_preview_is_finished() -> None:
    for name, old in (("typed", b'{"type"'), ("named", b'{"type":"image_generation.completed",')):
        new = b'{"partial_image_index":0,' + (b'"type"' if name == "typed" else b"")
        event = FINISHED.replace(old, new)
        async with wire(STREAM_HEAD + _announced(PREVIEW + event)) as url, gateway_at(url) as ours:
            got = await ours.draw(**UP)
            assert got.status == 200, name
            assert [it["b64_json"] for it in got.json["data"]] == [B64], name


async def test_partial_content_and_statuses_below_200_are_no_answer() -> None:
    for status in (206, 99, 101):
        for head, body, params in (
            (STREAM_HEAD, FINISHED, {"stream": True}),
            (JSON_HEAD, JSON, {}),
        ):
            reply = head.replace(b"200 OK", b"%03d Odd" % status) + _announced(body)
            async with wire(reply) as url, gateway_at(url) as ours:
                got = await ours.draw(params=params, **UP)
                assert got.status == 502, (status, head)
                _assert_failed(ours, str(status))


async def test_client_that_collects_a_failed_stream_gets_its_failure() -> None:
    rest = _chunked(PREVIEW)
    async with wire(STREAM_HEAD, rest, then="reset", pause=0.05) as url, gateway_at(url) as ours:
        headers = {**OURS, "x-portkey-virtual-key": "up"}
        body = {"prompt": "a", "stream": True}
        async with ours.session.post(ours.url + PATH, json=body, headers=headers) as got:
            await got.read()
        collected = await ours.ask(
            method="GET", path=f"/v1/images/jobs/{got.headers['x-easel-job']}"
        )
        assert (collected.status, collected.error["code"]) == (502, "connection_lost")


def test_scan_is_the_same_for_every_split() -> None:
    stream = PREVIEW + FINISHED + b": hi\r\n\r\n" + FINISHED.replace(b"\n", b"\r\n") + REPORT
    for size in (1, 2, 3, 7, 64, 200, len(stream)):
        scan = EventScan()
        for at in range(0, len(stream), size):
            scan.feed(stream[at : at + size])
        assert (scan.finished, scan.is_between_events) == (2, True), size
        assert b"No." in scan.report, size


def test_words_inside_texts_are_no_events() -> None:
    text = orjson.dumps({"revised_prompt": 'an "error": {"type":"partial_image"} "b64_json":"x"'})
    for name, data, finished in (
        ("quoted names", text[:-1] + b',"b64_json":"iVBO"}', 1),
        ("quoted image", text, 0),
        ("type last", b'{"b64_json":"iVBO","type":"image_edit.partial_image"}', 0),
        ("an empty error beside", b'{"error":{"message":""},"b64_json":"iVBO"}', 1),
    ):
        scan = EventScan()
        scan.feed(b"data: " + data + b"\n\n")
        assert scan.finished == finished, name


def test_nesting_is_the_same_for_every_split() -> None:
    text = orjson.dumps({"a": ['\\"}', {"b": "}]"}], "c": "A" * 99})
    for size in (1, 2, 3, 16, len(text)):
        nesting = JsonNesting()
        for at in range(0, len(text), size):
            assert not nesting.is_whole
            nesting.feed(text[at : at + size])
        assert nesting.is_whole, size


def test_completed_event_with_the_index_of_a_preview_is_finished() -> None:
    index = b'"partial_image_index": 2, "b64_json": "iVBO"}\n\n'
    for head, finished in (
        (b"event: image_generation.completed\ndata: {", 1),
        (b'data: {"type": "image_generation.completed", ', 1),
        (b"event: image_generation.partial_image\ndata: {", 0),
        (b"data: {", 0),
    ):
        scan = EventScan()
        scan.feed(head + index)
        assert scan.finished == finished, head


def test_line_ends_without_end_are_not_kept() -> None:
    for ends in (b"\n", b"\r\n", b"\r"):
        scan = EventScan()
        for _ in range(100):
            scan.feed(ends * 1000)
            assert len(scan._held) <= 4
        scan.feed(b'data: {"b64_json": "iVBO"}' + ends)
        scan.feed(ends)
        assert scan.finished == 1
