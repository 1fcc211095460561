"""The process log: events of the gateway itself, on standard error, one line each.

    2026-11-30T22:28:01.123Z INFO worker=main easel: settings reloaded, version 3f2a9c01

Modules log with `logging.getLogger("easel")`, and a process that serves calls `configure` once. The
access log is another stream: see `access_log`.

Invariant: no line holds the message of an exception, which could quote a key or a prompt.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

from proxy import __version__
from proxy.errors import traceback_summary
from proxy.settings.loader import Settings
from proxy.settings.redis_url import parse_redis_url
from proxy.settings.schema import HOST_NONE

MAIN = "main"
"""The name of the process that the operator started; its workers are numbered from 1."""

_LOG = logging.getLogger("easel")


def escape_unprintable(text: str) -> str:
    r"""Escape control characters, which could move the cursor or start a line of their own.

    >>> escape_unprintable("a\nb")
    'a\\nb'
    """
    return text if text.isprintable() else text.encode("unicode_escape").decode()


class RedactingFilter(logging.Filter):
    """Removes exception messages from log records: they can quote a request, and so a key.

    `client_errors` are exceptions that a client can cause at will; their stack is left out.
    """

    def __init__(self, *client_errors: type[BaseException]) -> None:
        super().__init__()
        self._client_errors = client_errors

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep an exception's type, and its stack unless the client caused it."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            by_client = isinstance(error, self._client_errors)
            summary = type(error).__name__ if by_client else traceback_summary(error)
            record.msg = f"{record.getMessage()}: {summary}"
            record.args = None
        record.exc_info = record.exc_text = record.stack_info = None
        return True


class LineFormatter(logging.Formatter):
    """Formats a record as one line: UTC time, level, worker, logger, message."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Control characters in the message are escaped."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        logger = record.name.partition(".")[0]
        message = escape_unprintable(record.getMessage())
        return (
            f"{seconds}.{int(record.msecs):03d}Z {record.levelname} worker={self._worker} "
            f"{logger}: {message}"
        )


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`. A failure to write is ignored: nobody can read it."""

    def __init__(self, worker: str) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(LineFormatter(worker))
        self.addFilter(RedactingFilter())

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # read at each use, as in logging.lastResort
        """Standard error."""
        return sys.stderr

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Ignore a closed or full standard error."""


def configure(level: str, worker: str = MAIN) -> None:
    """Send this process's log to standard error. `worker` names the process in each line."""
    root = logging.getLogger()
    for handler in [it for it in root.handlers if isinstance(it, StderrHandler)]:
        root.removeHandler(handler)
    root.addHandler(StderrHandler(worker))
    set_level(level)


def set_level(level: str) -> None:
    """Apply a `log.level`. Libraries log warnings and errors only, whatever the level."""
    number = logging.getLevelNamesMapping()[level.upper()]
    _LOG.setLevel(number)
    logging.getLogger().setLevel(max(number, logging.WARNING))


def log_start(settings: Settings, port: int, workers: int = 1) -> None:
    """Log the start line: version, settings file, addresses, workers, Redis, blob store."""
    _LOG.info(
        "Easel %s started: settings %s, listening on %s, workers %d, Redis %s, store %s",
        __version__,
        settings.file or "built-in",
        " and ".join(_addresses(settings, port)),
        workers,
        _redis(settings.redis.url),
        settings.blobs.store or f"{settings.state_dir}/blobs",
    )


def _addresses(settings: Settings, port: int) -> list[str]:
    server = settings.server
    addresses = []
    if server.host != HOST_NONE:
        scheme = "https" if server.tls_certificate else "http"
        host = f"[{server.host}]" if ":" in server.host else server.host
        addresses.append(f"{scheme}://{host}:{port}")
    if server.socket:
        addresses.append(f"unix:{server.socket}")
    return addresses


def _redis(url: str) -> str:
    """Return the servers of a Redis URL, without its credentials."""
    if not url:
        return "none"
    return ",".join(f"{host}:{port}" for host, port in parse_redis_url(url).hosts)
