"""Marks that stand where secrets, prompts and pictures stand, and whatever could tell them."""

from __future__ import annotations

import io
import logging
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from tests.support.gateway import Answered, Provider

GATEWAY_KEY = "easel-KEYMARK-gateway-0123456789"
OTHER_KEY = "easel-KEYMARK-other-0123456789ab"
STORED = "sk-KEYMARK-stored/secret+0123456789"
SENT = "sk-KEYMARK-sent/secret+0123456789"
INLINE = "sk-KEYMARK-inline/secret+0123456789"
PASSWORD = "KEYMARK-password-0123456789"
SIGNING = "KEYMARK-signing-0123456789-0123456789"
KEYS = (GATEWAY_KEY, OTHER_KEY, STORED, SENT, INLINE, PASSWORD, SIGNING)
PROMPT = 'PROMPTMARK of a "lighthouse"\n\x1b[31m at dawn'
PICTURE = b64encode(b"\x89PNG\r\n\x1a\n" + b"PICTUREMARK" * 9).decode()

NEVER_IN_A_LOG = ("KEYMARK", "PROMPTMARK", PICTURE[:40], PICTURE[40:80])


def spelled(secret: str) -> set[str]:
    """Give a secret as it is, and as it is written in URLs, in JSON and in base64."""
    coded = {b64encode(b"-" * n + secret.encode()).decode()[4:-4] for n in (0, 1, 2)}
    return {secret, quote(secret, safe=""), secret.replace("/", "\\/"), *coded}


def keys_in(text: str, *, but: str = "") -> list[str]:
    """Name the keys of which a text holds any spelling, except one."""
    return [key for key in KEYS if key != but and any(it in text for it in spelled(key))]


def loose(text: str) -> list[str]:
    """Name the marks in what no prompt, no key and no picture may be in."""
    return [mark for mark in NEVER_IN_A_LOG if mark in text] + keys_in(text)


@dataclass
class Sinks:
    """What was told outside of answers: `log` is every logger's, at DEBUG."""

    log: io.StringIO = field(default_factory=io.StringIO)
    files: list[str] = field(default_factory=list)
    reprs: list[str] = field(default_factory=list)

    def note_files(self, folder: str) -> None:
        """Note the names of all files in a folder."""
        self.files += [name for _, folders, files in os.walk(folder) for name in folders + files]

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join([self.log.getvalue(), *self.files, *self.reprs])


@contextmanager
def listening() -> Iterator[Sinks]:
    """Hear what every logger says, however quietly, with tracebacks."""
    sinks = Sinks()
    handler = logging.StreamHandler(sinks.log)
    # The test servers' own; the gateway has its access line instead.
    handler.addFilter(lambda record: record.name != "aiohttp.access")
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield sinks
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def told(answer: Answered) -> str:
    """Give all that a client is told, its JSON unescaped as well."""
    text = answer.body.decode(errors="replace")
    head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    return "\n".join([head, text, *_strings(text)])


def _strings(text: str) -> Iterator[str]:
    try:
        tree: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    level = [tree]
    while level:
        node = level.pop()
        if isinstance(node, dict):
            level += [*node.keys(), *node.values()]
        elif isinstance(node, list):
            level += node
        elif isinstance(node, str):
            yield node


def asked(fake: Provider) -> str:
    """Give what a provider was sent: lines, headers, bodies."""
    heads = [f"{it.method} {it.raw_path} {dict(it.headers)}" for it in fake.requests]
    return "\n".join([*heads, *(body.decode(errors="replace") for body in fake.bodies)])
