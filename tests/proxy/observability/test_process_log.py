"""The process log: one line an event, with time, level and worker, and no private data."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.observability.process_log import (
    LineFormatter,
    RedactingFilter,
    StderrHandler,
    configure,
    log_start,
    set_level,
)
from proxy.settings.loader import parse

LOG = logging.getLogger("easel")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.level, LOG.level, list(root.handlers))
    yield
    root.level, LOG.level = before[:2]
    root.handlers[:] = before[2]


def failed(text: str = "sekret") -> logging.LogRecord:
    """Return a record of an exception whose message quotes a text."""
    try:
        int(text)
    except ValueError:
        return logging.LogRecord("easel", 40, "f", 1, "Failed for %s", ("me",), sys.exc_info())
    raise AssertionError


@contextmanager
def configured(level: str = "info", worker: str = "main") -> Iterator[None]:
    configure(level, worker)
    yield


def test_a_line_has_time_level_worker_and_one_prefix() -> None:
    record = logging.LogRecord("easel.server", 20, "f", 1, "Redis unavailable (%s)", ("X",), None)
    record.created, record.msecs = 1796077681.1239, 123.9
    assert LineFormatter("1").format(record) == (
        "2026-11-30T22:28:01.123Z INFO worker=1 easel: Redis unavailable (X)"
    )


def test_an_exception_is_logged_with_its_stack_and_without_its_message() -> None:
    record = failed()
    assert RedactingFilter().filter(record)
    text = logging.Formatter().format(record)
    assert re.fullmatch(r"Failed for me: ValueError <- \S+test_process_log.py:\d+ failed", text)


def test_an_exception_that_a_client_can_cause_has_no_stack() -> None:
    record = failed()
    RedactingFilter(ValueError).filter(record)
    assert logging.Formatter().format(record) == "Failed for me: ValueError"


def test_the_handler_redacts_what_libraries_log(capsys: pytest.CaptureFixture[str]) -> None:
    with configured():
        record = failed()
        logging.getLogger("library").handle(record)
    assert "ValueError <- " in (err := capsys.readouterr().err)
    assert "sekret" not in err


def test_a_message_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with configured():
        LOG.warning("%s", "a\n2026-11-30T22:28:01.123Z ERROR worker=main easel: forged\x1b[2J")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", "debug info warning error"),
        ("info", "info warning error"),
        ("warning", "warning error"),
        ("error", "error"),
    ],
)
def test_a_level_hides_those_below(
    level: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with configured():
        set_level(level)
        for name in ("debug", "info", "warning", "error"):
            getattr(LOG, name)(name)
            getattr(logging.getLogger("library"), name)("of a library")
    lines = capsys.readouterr().err.splitlines()
    assert [it.rpartition(" ")[2] for it in lines if " easel: " in it] == shown.split()
    assert not any(" DEBUG " in it or " INFO " in it for it in lines if " library: " in it)


def test_a_closed_standard_error_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    with configured(), open("/dev/null", "w") as closed:  # noqa: PTH123 - a stream to close
        closed.close()
        monkeypatch.setattr(sys, "stderr", closed)
        LOG.error("nobody reads this")


def test_configuring_again_replaces_the_handler() -> None:
    configure("info")
    configure("debug", "2")
    assert sum(isinstance(it, StderrHandler) for it in logging.getLogger().handlers) == 1


def test_the_start_line_names_what_was_configured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "easel")
    log_start(
        parse(
            "server: {host: '::1', socket: /run/easel.sock}\n"
            "redis: {url: 'rediss+cluster://user:sekret@one,two:7000'}\n"
            "blobs: {store: 's3://b', signing_key: sekret-0123456789-0123456789abcdef}\n",
            environ={},
        ),
        8787,
        3,
    )
    (line,) = caplog.messages
    assert re.fullmatch(
        r"Easel \S+ started: settings settings, listening on http://\[::1\]:8787 and "
        r"unix:/run/easel.sock, workers 3, Redis one:6379,two:7000, store s3://b",
        line,
    )
