"""The lines of requests: gathered, written together, in the style that was asked for."""

from __future__ import annotations

import io

import orjson

from proxy.observability.access_log import AccessLog
from tests.support.waiting import until

LINE = {"status": 200, "method": "GET", "path": "/", "ms": 1.0, "trace": "t", "error": ""}


async def test_lines_are_written_soon_and_together() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, "json")
    log.write(LINE)
    log.write(LINE)
    assert stream.getvalue() == ""
    await until(stream.getvalue)
    assert [orjson.loads(line) for line in stream.getvalue().splitlines()] == [LINE, LINE]


async def test_many_lines_are_not_held_back() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, "json")
    for _ in range(500):
        log.write(LINE)
    assert stream.getvalue().count("\n") == 500


async def test_none_writes_nothing() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, "none")
    log.write(LINE)
    log.flush()
    assert stream.getvalue() == ""


async def test_text_is_one_line_whatever_a_client_sent() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, "text")
    log.write({**LINE, "trace": "a\nb\x1b[31m"})
    log.flush()
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


async def test_text_says_in_few_words_what_was_tried() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, "text")
    tried = {"target": "config", "provider": "acme", "ended": "ok", "ms": 1.0}
    log.write({**LINE, "tried": [tried, tried]})
    log.write({**LINE, "tried": []})
    log.flush()
    first, second = stream.getvalue().splitlines()
    assert "tried=config:acme:ok,config:acme:ok" in first
    assert "tried" not in second
