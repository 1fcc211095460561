"""Replies as no documentation shows them: keys gone, values of another type, no JSON at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from adapters.http import ProviderReply
from tests.support.transcripts import Transcript

Place = tuple[str | int, ...]
Damaged = tuple[str, list[ProviderReply]]
"""What was done, and the replies to it."""

_OTHERS: tuple[Any, ...] = (None, -1.5, "odd", "", ["odd"], {}, {"odd": "odd"}, False)
_NO_PICTURE = (
    ("text/html", b""),
    ("text/html", b"<html>Bad gateway</html>"),
    ("application/octet-stream", b"\xff\xfe"),
    ("application/json", b""),
    ("application/json", b"[]"),
    ("application/json", b"null"),
    ("application/json", b'{"data": ['),
    ("image/png", b""),
)
_STATUSES = (200, 204, 302, 400, 401, 402, 403, 404, 409, 418, 422, 429, 500, 502, 503, 504, 529)

_GONE = object()


def replies(transcript: Transcript) -> list[ProviderReply]:
    """Give the replies as they are written down."""
    return [exchange.reply.received() for exchange in transcript.exchanges]


def with_a_key_gone(transcript: Transcript) -> Iterator[Damaged]:
    """Take away one key or list entry of one reply at a time; say which."""
    for which, place, tree in _places(transcript):
        if place:
            yield f"{which}: without {place}", _with(transcript, which, _changed(tree, place))


def with_another_value(transcript: Transcript) -> Iterator[Damaged]:
    """Put some other values in the place of one value of one reply at a time; say what."""
    for number, (which, place, tree) in enumerate(_places(transcript)):
        # Three of them in each place, other ones in the next.
        for other in (_OTHERS * 2)[number % len(_OTHERS) :][:6:2]:
            damaged = _changed(tree, place, other)
            yield f"{which}: {place} = {other}", _with(transcript, which, damaged)


def with_no_picture(transcript: Transcript) -> Iterator[Damaged]:
    """Break off with a web page under every status, then with no body, a cut one and others."""
    written = replies(transcript)
    pages = [(status, *_NO_PICTURE[0]) for status in _STATUSES]
    bodies = [(status, *it) for status in (200, 400) for it in _NO_PICTURE]
    for which in range(len(written)):
        for status, media_type, body in pages + bodies:
            broken = ProviderReply(status, {"content-type": media_type}, body)
            yield f"{which}: {status} {media_type} {body!r}", [*written[:which], broken]


def _places(transcript: Transcript) -> Iterator[tuple[int, Place, Any]]:
    """Name every place in every JSON reply."""
    for which, exchange in enumerate(transcript.exchanges):
        tree = exchange.reply.json
        if tree is not msgspec.UNSET:
            yield from ((which, place, tree) for place in _below(tree))


def _below(tree: Any) -> Iterator[Place]:
    """Name the place itself and all below it."""
    yield ()
    branches: Any = ()
    if isinstance(tree, dict | list):
        branches = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for step, branch in branches:
        yield from ((step, *place) for place in _below(branch))


def _changed(tree: Any, place: Place, value: Any = _GONE) -> Any:
    """Copy a tree with another value in one place, or without that place."""
    if not place:
        return value
    step, *rest = place
    copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    if not rest and value is _GONE:
        del copy[step]
    else:
        copy[step] = _changed(tree[step], tuple(rest), value)
    return copy


def _with(transcript: Transcript, which: int, tree: Any) -> list[ProviderReply]:
    """Give the replies with another JSON body in one of them."""
    changed = replies(transcript)
    one = changed[which]
    changed[which] = ProviderReply(one.status, one.headers, orjson.dumps(tree))
    return changed
