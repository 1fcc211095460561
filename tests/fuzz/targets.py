"""What is tried: each takes any bytes, and raises only what a finding is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import orjson
from multidict import CIMultiDict

import adapters
from adapters import PROVIDERS, get_adapter
from adapters.contract import Answer
from adapters.errors import ImageError
from adapters.http import ProviderReply
from adapters.table.table import UnsupportedPolicy
from adapters.tools.sse import EventParser
from proxy.errors import error_body
from proxy.pipeline.translate import prepare_calls
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Caller
from proxy.routing.plan import Target as PlanTarget
from proxy.routing.resolver import Resolver
from proxy.settings import routing_config
from proxy.settings.config_json import parse_config_json
from proxy.settings.loader import TOP_LEVEL_KEYS, Settings, SettingsError, parse
from proxy.settings.routing_config import ConfigError
from proxy.upstream.reply import decompress
from tests.fuzz.drawing import Drawn
from tests.support.malformed import _below, _changed
from tests.support.transcripts import Transcript, conversation, transcripts_of

Target = Callable[[bytes], None]

_ROOT = Path(adapters.__file__).parents[1]
_PATIENCE = 3_000
"""Replies after which a conversation counts as endless."""


def settings_text(data: bytes) -> None:
    """Read any text, and any tree, as settings."""
    drawn = Drawn(data)
    keys = sorted(
        TOP_LEVEL_KEYS | {"key", "provider", "api_key", "url", "retry", "cache", "targets"}
    )
    tree = orjson.dumps(drawn.tree(keys=keys))
    for text in (tree.decode(), drawn.rest().decode("utf-8", "replace")):
        with suppress(SettingsError):
            parse(text, environ={"A": "b"})


def config_text(data: bytes) -> None:
    """Read any text, and any tree, as a config."""
    drawn = Drawn(data)
    tree = orjson.dumps(drawn.tree(keys=sorted(routing_config.CONFIG_KEYS))).decode()
    for text in (tree, drawn.rest().decode("utf-8", "replace")):
        with suppress(ConfigError):
            routing_config.parse_config(parse_config_json(text))


@cache
def _resolver() -> tuple[Resolver, Settings, list[str]]:
    settings = parse("virtual_keys: {up: {provider: openai, api_key: k0123456789}}", environ={})
    code = "".join(it.read_text("utf-8") for it in sorted((_ROOT / "proxy").rglob("*.py")))
    names = set(re.findall(r'"(x-(?:portkey|easel)-[a-z-]*[a-z])"', code))
    names |= {option.header for it in PROVIDERS for option in get_adapter(it).options}
    return Resolver(settings), settings, [*sorted(names), "authorization"]


def headers(data: bytes) -> None:
    """Make a plan of any headers that the gateway reads."""
    resolver, _, names = _resolver()
    drawn = Drawn(data)
    asked = CIMultiDict({"x-portkey-provider": drawn.of(PROVIDERS), "authorization": "Bearer k"})
    for _ in range(1 + drawn.number(4)):
        name = drawn.of(names)
        value = orjson.dumps(drawn.tree()).decode() if drawn.number(2) else drawn.text()
        asked[name] = value
    with suppress(ImageError):
        resolver.resolve(asked, Caller("c"), {"prompt": "a", "model": drawn.text()}, "/v1")


def body(data: bytes) -> None:
    """Translate any body for some provider."""
    drawn = Drawn(data)
    transcript = drawn.of(_successes())
    provider = get_adapter(transcript.provider)
    names = sorted({"size", "n", "quality", *(row.name for row in provider.table_for("").rows)})
    params = {drawn.of(names): drawn.tree() for _ in range(drawn.number(6))}
    params = {"prompt": "a", "model": transcript.call.get("model") or "", **params}
    given = transcript.credentials
    target = PlanTarget(
        provider,
        given,
        provider.resolve_base_url(given),
        unsupported_policy=drawn.of(list(UnsupportedPolicy)),
    )
    attempt = Attempt(target, params, orjson.dumps(params))
    with suppress(ImageError):
        prepare_calls(attempt)
        assert str(attempt.receipt).isascii()
        for call in attempt.calls:
            request = next(provider.flow(call))
            orjson.dumps([request.json, request.path, dict(request.form or {})])


@cache
def _successes() -> list[Transcript]:
    found = [transcripts_of(it) for it in PROVIDERS]
    return [one for all_ in found for one in all_ if one.exchanges and one.kind == "success"]


def replies(data: bytes) -> None:
    """Give some provider's adapter replies in which some places hold any JSON."""
    drawn = Drawn(data)
    transcript = drawn.of(_successes())
    flow = conversation(transcript)
    came = [_damaged(it.reply.received(), drawn) for it in transcript.exchanges]
    try:
        next(flow)
        for reply in chain(came, repeat(came[-1], _PATIENCE)):
            flow.send(reply)
    except StopIteration as end:
        outcome = end.value
    except ImageError as error:
        outcome = error_body(error)
    else:
        raise AssertionError(f"{transcript.place} goes on for ever")
    assert outcome is None or isinstance(outcome, Answer | bytes)


def _damaged(reply: ProviderReply, drawn: Drawn) -> ProviderReply:
    tree = reply.json()
    if tree is None:
        return ProviderReply(drawn.of((200, 400, 500)), reply.headers, drawn.rest())
    for _ in range(drawn.number(4)):
        tree = _changed(tree, drawn.of(list(_below(tree))), drawn.tree())
    status = drawn.of((reply.status, reply.status, 202, 400, 429, 500))
    return ProviderReply(status, reply.headers, orjson.dumps(tree))


def events(data: bytes) -> None:
    """Read any stream of events, cut anywhere, and give each to an adapter."""
    drawn = Drawn(data)
    transcript = drawn.of(_of_events())
    tree = b"data: " + orjson.dumps(drawn.tree()) + b"\n\n"
    sizes = [1 + drawn.number(9) for _ in range(6)]
    stream = tree + drawn.rest()
    whole, cut = EventParser(), EventParser()
    found = [*whole.feed(stream), *whole.flush()]
    same = [it for piece in _cut(stream, sizes) for it in cut.feed(piece)] + cut.flush()
    assert [(it.name, it.data) for it in found] == [(it.name, it.data) for it in same]
    for event in found:
        with suppress(ImageError):
            get_adapter(transcript.provider).parse_event(transcript.first_call[0], event.json())


@cache
def _of_events() -> list[Transcript]:
    """Give transcripts of the adapters that read events themselves."""
    base = adapters.contract.Adapter.parse_event
    return [it for it in _successes() if type(get_adapter(it.provider)).parse_event is not base]


def _cut(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in islice(chain(sizes, repeat(7)), len(stream) + 1):
        if not stream:
            return
        yield stream[:size]
        stream = stream[size:]


def sizes(data: bytes) -> None:
    """Translate any size for every table of some provider."""
    drawn = Drawn(data)
    provider = get_adapter(drawn.of(PROVIDERS))
    size: Any = drawn.text()
    if drawn.number(2):
        size = f"{drawn.number(1 << 30)}{drawn.of('x:*X')}{drawn.number(1 << 30)}"
    for model in (*provider.models, ""):
        with suppress(ImageError):
            provider.table_for(model).translate({"size": size})


def compressed(data: bytes) -> None:
    """Undo any compression, within its limit."""
    for encoding in ("gzip", "deflate", "br"):
        with suppress(ImageError):
            assert len(decompress(data, encoding, 1000)) <= 1000


TARGETS: tuple[Target, ...] = (
    *(settings_text, config_text, headers, body, replies, events, sizes, compressed),
)
