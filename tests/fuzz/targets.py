"""The fuzz targets. Each accepts any bytes and raises only if it found a bug."""

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
from proxy.http.body import parse_params
from proxy.http.body_limits import BodyMemory, BodyReservation
from proxy.http.headers import json_headers
from proxy.pipeline.params import final_params
from proxy.pipeline.translate import prepare_calls
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Caller, leaf_targets
from proxy.routing.plan import Target as PlanTarget
from proxy.routing.resolver import Resolver
from proxy.settings import routing_config
from proxy.settings.config_json import parse_config_json
from proxy.settings.loader import TOP_LEVEL_KEYS, Settings, SettingsError, parse
from proxy.settings.routing_config import ConfigError
from proxy.upstream.reply_limits import MAX_RATIO, Inflater, ValueCounter
from tests.fuzz.fuzz_input import FuzzInput
from tests.support.counted_work import count_work
from tests.support.malformed import _below, _changed
from tests.support.transcripts import Transcript, conversation, transcripts_of

Target = Callable[[bytes], None]

_ROOT = Path(adapters.__file__).parents[1]
_MAX_REPLIES = 3_000
"""Number of replies after which a conversation counts as endless."""


def settings_text(data: bytes) -> None:
    """Parse any text and any JSON value as settings."""
    source = FuzzInput(data)
    keys = sorted(
        TOP_LEVEL_KEYS | {"key", "provider", "api_key", "url", "retry", "cache", "targets"}
    )
    tree = orjson.dumps(source.tree(keys=keys))
    for text in (tree.decode(), source.rest().decode("utf-8", "replace")):
        with suppress(SettingsError):
            parse(text, environ={"A": "b"})


def config_text(data: bytes) -> None:
    """Parse any text and any JSON value as a config."""
    source = FuzzInput(data)
    tree = orjson.dumps(source.tree(keys=sorted(routing_config.CONFIG_KEYS))).decode()
    for text in (tree, source.rest().decode("utf-8", "replace")):
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
    """Resolve a plan from any values of the headers that the gateway reads."""
    resolver, _, names = _resolver()
    source = FuzzInput(data)
    request_headers = CIMultiDict(
        {"x-portkey-provider": source.choose(PROVIDERS), "authorization": "Bearer k"}
    )
    for _ in range(1 + source.number(4)):
        name = source.choose(names)
        value = orjson.dumps(source.tree()).decode() if source.number(2) else source.text()
        request_headers[name] = value
    with suppress(ImageError):
        resolver.resolve(
            request_headers, Caller("c"), {"prompt": "a", "model": source.text()}, "/v1"
        )


def body(data: bytes) -> None:
    """Translate any body for a provider."""
    source = FuzzInput(data)
    transcript = source.choose(_success_transcripts())
    provider = get_adapter(transcript.provider)
    names = sorted({"size", "n", "quality", *(row.name for row in provider.table_for("").rows)})
    params = {source.choose(names): source.tree() for _ in range(source.number(6))}
    params = {"prompt": "a", "model": transcript.call.get("model") or "", **params}
    credentials = transcript.credentials
    target = PlanTarget(
        provider,
        credentials,
        provider.resolve_base_url(credentials),
        unsupported_policy=source.choose(list(UnsupportedPolicy)),
    )
    attempt = Attempt(target, params, orjson.dumps(params))
    with suppress(ImageError):
        prepare_calls(attempt)
        assert str(attempt.receipt).isascii()
        for call in attempt.calls:
            request = next(provider.flow(call))
            orjson.dumps([request.json, request.path, dict(request.form or {})])


@cache
def _success_transcripts() -> list[Transcript]:
    found = [transcripts_of(it) for it in PROVIDERS]
    return [one for all_ in found for one in all_ if one.exchanges and one.kind == "success"]


def replies(data: bytes) -> None:
    """Send an adapter replies in which some values are replaced by any JSON."""
    source = FuzzInput(data)
    transcript = source.choose(_success_transcripts())
    flow = conversation(transcript)
    replies = [_damage(it.reply.received(), source) for it in transcript.exchanges]
    try:
        next(flow)
        for reply in chain(replies, repeat(replies[-1], _MAX_REPLIES)):
            flow.send(reply)
    except StopIteration as end:
        outcome = end.value
    except ImageError as error:
        outcome = error_body(error)
    else:
        raise AssertionError(f"{transcript.place} does not end")
    assert outcome is None or isinstance(outcome, Answer | bytes)


def _damage(reply: ProviderReply, source: FuzzInput) -> ProviderReply:
    tree = reply.json()
    if tree is None:
        return ProviderReply(source.choose((200, 400, 500)), reply.headers, source.rest())
    for _ in range(source.number(4)):
        tree = _changed(tree, source.choose(list(_below(tree))), source.tree())
    status = source.choose((reply.status, reply.status, 202, 400, 429, 500))
    return ProviderReply(status, reply.headers, orjson.dumps(tree))


def events(data: bytes) -> None:
    """Parse any event stream, split anywhere, and have an adapter parse each event."""
    source = FuzzInput(data)
    transcript = source.choose(_stream_transcripts())
    tree = b"data: " + orjson.dumps(source.tree()) + b"\n\n"
    sizes = [1 + source.number(9) for _ in range(6)]
    stream = tree + source.rest()
    whole, cut = EventParser(), EventParser()
    found = [*whole.feed(stream), *whole.flush()]
    same = [it for piece in _split(stream, sizes) for it in cut.feed(piece)] + cut.flush()
    assert [(it.name, it.data) for it in found] == [(it.name, it.data) for it in same]
    for event in found:
        with suppress(ImageError):
            get_adapter(transcript.provider).parse_event(transcript.first_call[0], event.json())


@cache
def _stream_transcripts() -> list[Transcript]:
    """Return transcripts of the adapters that override `parse_event`."""
    base = adapters.contract.Adapter.parse_event
    return [
        it
        for it in _success_transcripts()
        if type(get_adapter(it.provider)).parse_event is not base
    ]


def _split(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in islice(chain(sizes, repeat(7)), len(stream) + 1):
        if not stream:
            return
        yield stream[:size]
        stream = stream[size:]


def sizes(data: bytes) -> None:
    """Translate any size for every table of a provider."""
    source = FuzzInput(data)
    provider = get_adapter(source.choose(PROVIDERS))
    size: Any = source.text()
    if source.number(2):
        size = f"{source.number(1 << 30)}{source.choose('x:*X')}{source.number(1 << 30)}"
    for model in (*provider.models, ""):
        with suppress(ImageError):
            provider.table_for(model).translate({"size": size})


def compressed_body(data: bytes) -> None:
    """Undo any compression, within its limit; count the values of any text."""
    for encoding in ("gzip", "deflate", "br"):
        with suppress(ImageError):
            plain = sum(map(len, Inflater(encoding).feed(data)))
            assert plain <= len(data) * MAX_RATIO
    whole, cut = ValueCounter(), ValueCounter()
    whole.add(data)
    for piece in _split(data, [1, 2, 3]):
        cut.add(piece)
    assert whole.values == cut.values


def unfolding(data: bytes) -> None:
    """Count the work of a request whose body, config, metadata and header repeat something."""
    source = FuzzInput(data)
    body_, config = _repeated(source, _BODY_SIZE), _repeated_config(source)
    metadata = _repeated(source, _HEADER_SIZE)
    check_work(body_, config, metadata, "x-a," * (source.number(2) * source.number(2000)))


def check_work(body_: bytes, config: bytes, metadata: bytes, names: str) -> None:
    """Assert that the work of a request stays within a bound that grows with its bytes only."""
    spaces = iter((b" ", b"  "))  # Each run sends another text, so that none is found in a cache.

    def take() -> None:
        with suppress(ImageError):
            _take(body_, config + next(spaces), metadata, names)

    work, size = count_work(take), sum(map(len, (body_, config, metadata, names)))
    assert work.steps < _STEPS + _STEPS_PER_BYTE * size, f"{work.steps} steps for {size} bytes"
    assert work.peak < _MEMORY + _MEMORY_PER_BYTE * size, f"{work.peak} bytes for {size} bytes"


_PIECES = (
    *("{}", "[]", "0", '""', "[[]]", '{"a":0}', '{"a":{"a":[{}]}}', '"a[*].b"', '"a[0].b"'),
    *('{"targets":[{}]}', '{"override_params":{"a":0}}', '{"drop_params":["a[0]"]}'),
)
_BODY_SIZE, _HEADER_SIZE = 20_000, 8000
_STEPS, _STEPS_PER_BYTE = 1_500_000, 50
_MEMORY, _MEMORY_PER_BYTE = 3 << 20, 64


def _repeated(source: FuzzInput, most: int) -> bytes:
    """Return a JSON object of about `most` bytes in which an item or a key repeats."""
    piece, keyed = source.choose(_PIECES), source.number(3) == 0
    count = source.number(1 + most // (len(piece) + 8 * keyed))
    items = ",".join(f'"k{i}":{piece}' if keyed else piece for i in range(count))
    inside = f"{{{items}}}" if keyed else f"[{items}]"
    return f'{{"prompt":"p","model":"@up/m","a":{inside}}}'.encode()


def _repeated_config(source: FuzzInput) -> bytes:
    """Return a config whose parameters, paths, header names and targets repeat."""
    left = _HEADER_SIZE
    level: dict[str, Any] = {}
    for key in ("override_params", "default_params", "drop_params", "forward_headers"):
        count = source.number(2) * source.number(1 + left // 16)
        left -= 16 * count
        level[key] = [f"x-{i}" for i in range(count)]
        if key == "drop_params":
            level[key] = [f"a[{source.choose(('*', 0, i))}].k{i}" for i in range(count)]
        elif key != "forward_headers":
            level[key] = {f"k{i}": 0 for i in range(count)}
    targets: list[Any] = [{}] * min(source.number(101), max(left, 0) // 3)
    if targets:
        level |= {"strategy": {"mode": "fallback"}, "targets": [{"targets": targets}] * 9}
    return orjson.dumps(level)


def _take(body_: bytes, config: bytes, metadata: bytes, names: str) -> None:
    """Read a request and resolve it, as the routing middleware does; prepare some attempts."""
    resolver, settings, _ = _resolver()
    asked = CIMultiDict(
        {"x-portkey-config": config.decode(), "x-portkey-metadata": metadata.decode()}
    )
    if names:
        asked["x-portkey-forward-headers"] = names
    reservation = BodyReservation(BodyMemory(settings.limits.bodies_bytes))
    reading = parse_params(body_, json_headers(asked), reservation, settings.limits)
    try:
        reading.send(None)  # A small body is parsed without a thread, so nothing is awaited.
    except StopIteration as end:
        params = end.value[1]
        plan = resolver.resolve(asked, Caller("c"), params)
        assert plan.root.cache_identity
        for leaf in leaf_targets(plan.root)[:3]:
            final_params(params, leaf)


TARGETS: tuple[Target, ...] = (
    *(settings_text, config_text, headers, body, unfolding, replies, events, sizes),
    compressed_body,
)
