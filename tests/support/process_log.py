"""The process log of a gateway, without what differs from run to run."""

from __future__ import annotations

import re

_LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:DEBUG|INFO|WARNING|ERROR) "
    r"worker=(?:main|\d+) [a-z]+: (?P<message>.*)"
)
_START = re.compile(r"Easel \S+ started: ")


def messages(log: str) -> str:
    """Return the messages of a process log, one a line, without the start line.

    A line in another format stays as it is: a command's error message has no prefix.
    """
    texts = [_message(line) for line in log.splitlines()]
    return "".join(f"{text}\n" for text in texts if not _START.match(text))


def _message(line: str) -> str:
    found = _LINE.fullmatch(line)
    return found["message"] if found else line
