"""Small inputs that become large: work and memory are bounded by what an input becomes."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from adapters import get_adapter
from adapters.contract import Credentials
from proxy.context import BODY_MEMORY
from proxy.http.input_budget import VALUE_BYTES, count_values
from proxy.pipeline.params import final_params
from proxy.routing.plan import Caller, StrategyNode, Target
from proxy.routing.resolver import Resolver
from proxy.settings.config_json import parse_config_json
from proxy.settings.loader import parse
from proxy.settings.routing_config import MAX_DROP_PATHS, ConfigError, parse_config
from tests.support.counted_work import count_work
from tests.support.gateway import gateway_to
from tests.support.holding_provider import held
from tests.support.waiting import until

UP = {"virtual_key": "up"}


def dropping(paths: list[str]) -> Target:
    return Target(
        get_adapter("openai"),
        Credentials(),
        "https://api.openai.com/v1",
        drop_params=tuple(paths),
    )


WALKS: dict[str, tuple[Any, list[str]]] = {
    "one item, named often": ([0] * 10_000, ["a[0].b"] * 100),
    "many items, each named": ([0] * 10_000, [f"a[{i}].b" for i in range(100)]),
    "keys of every item": ([{}] * 10_000, [f"a[*].k{i}" for i in range(100)]),
    "an item among all": ([[0]] * 10_000, ["a[*][0].b", "a[0][*].c"] * 50),
    "keys that are not there": ({f"k{i}": 0 for i in range(10_000)}, ["a.b"] * 100),
    "ways through nested lists": (
        [[[[[[[{}] * 10_000]]]]]],
        [f"a{''.join('[0]' if i >> k & 1 else '[*]' for k in range(6))}[*].k" for i in range(64)],
    ),
}


@pytest.mark.parametrize(("value", "paths"), WALKS.values(), ids=WALKS.keys())
def test_many_paths_are_one_walk(value: Any, paths: list[str]) -> None:
    params, target = {"prompt": "p", "a": value}, dropping(paths)
    work = count_work(lambda: final_params(params, target))
    assert work.steps < 250 * 10_000
    assert work.peak < 4 << 20


def test_a_list_that_loses_nothing_is_not_copied() -> None:
    params = {"a": [0] * 10_000, "b": {"c": [{"d": 1}]}}
    left = final_params(params, dropping(["a[0].x", "a[20000]", "b.c[*].x", "b.c[0].d.e", "a.b"]))
    assert (left["a"] is params["a"], left["b"] is params["b"]) == (True, True)


@pytest.mark.parametrize(
    "paths",
    [["a[0].b"] * (MAX_DROP_PATHS + 1), ["a[*]"] * 3000, ["a" + "[0]" * 200], ["x" * 257]],
    ids=range(4),
)
async def test_a_config_drops_at_most_a_hundred_short_paths(paths: list[str]) -> None:
    config = {**UP, "drop_params": paths}
    with pytest.raises(ConfigError, match="drop_params: must hold"):
        parse_config({"targets": [config]})
    async with gateway_to() as (ours, fake):
        got = await ours.draw(config=orjson.dumps(config).decode())
        assert (got.status, got.error["code"], fake.requests) == (400, "invalid_config", [])
        assert "at most" in got.error["message"]


MANY = {
    "empty objects": b"{},",
    "empty lists": b"[],",
    "numbers": b"0,",
    "objects in objects": b'{"a":{}},',
    "strings": b'"",',
}


def body_of(piece: bytes, count: int) -> bytes:
    return b'{"prompt":"p","x":[' + piece * count + b"0]}"


@pytest.mark.parametrize("piece", MANY.values(), ids=MANY.keys())
async def test_a_body_of_many_values_is_refused_before_it_is_parsed(piece: bytes) -> None:
    async with gateway_to() as (ours, fake):
        for body in (body_of(piece, 10_000), body_of(piece, 1_000_000)):
            got = await ours.ask(body, **UP)
            assert (got.status, got.error["code"]) == (413, "request_too_large")
            assert "`limits.values`" in got.error["message"]
        assert not fake.requests
        assert ours.app[BODY_MEMORY].reserved == 0
        assert (await ours.ask(body_of(piece, 1000), **UP)).status == 200


async def test_values_of_body_metadata_and_config_count_together() -> None:
    text = orjson.dumps({"a": [{}] * 1800}).decode()
    config = orjson.dumps({**UP, "metadata": {"a": [{}] * 1800}}).decode()
    async with gateway_to(more="limits: {values: 8000}") as (ours, fake):
        assert (await ours.ask(body_of(b"0,", 3000), metadata=text, **UP)).status == 200
        assert (await ours.draw(config=config, metadata=text)).status == 200
        got = await ours.ask(body_of(b"0,", 3000), config=config, metadata=text)
        assert (got.status, got.error["code"], len(fake.requests)) == (413, "request_too_large", 2)
        assert "x-portkey-metadata and x-portkey-config" in got.error["message"]


async def test_commas_in_a_prompt_are_no_values() -> None:
    prompt = 'a, b: [c], {d} "e" \\ ' * 1000
    for values in ("{values: 100}", "{values: 10000}"):
        async with gateway_to(more=f"limits: {values}") as (ours, fake):
            assert (await ours.draw(prompt, **UP)).status == 200
            assert fake.sent == {"prompt": prompt}


async def test_parameters_are_limited() -> None:
    params = {f"k{i}": 0 for i in range(1000)}
    async with gateway_to() as (ours, fake):
        got = await ours.draw(params=params, **UP)
        assert (got.status, got.error["code"], fake.requests) == (413, "request_too_large", [])
        assert "`limits.params`" in got.error["message"]


async def test_a_small_body_is_held_to_the_ratio_from_its_first_byte() -> None:
    async with gateway_to() as (ours, fake):
        for body in (body_of(b"{},", 3000), b'{"prompt":"p"}' + b" " * 20_000):
            got = await ours.ask(gzip.compress(body), content_encoding="gzip", **UP)
            assert (got.status, got.error["code"]) == (413, "request_too_large")
        assert not fake.requests


async def test_a_job_counts_the_values_of_its_request_until_it_ends() -> None:
    body, metadata = body_of(b"{},", 3000), orjson.dumps({"a": [{}] * 1000}).decode()
    async with held("{bodies_bytes: 1500000}") as (ours, holding):
        memory = ours.app[BODY_MEMORY]
        waiting = {**UP, "prefer": "respond-async"}
        assert (await ours.ask(body, metadata=metadata, **waiting)).status == 202
        assert memory.reserved > 8000 * VALUE_BYTES
        got = await ours.ask(body, **UP)
        assert (got.status, got.error["code"]) == (503, "overloaded")
        assert (await ours.draw(**waiting)).status == 202
        holding.go.set()
        await until(lambda: memory.reserved == 0)
        assert (await ours.draw("again", **UP)).status == 200
        assert memory.reserved == 0


SHAPES: dict[str, Callable[[int], bytes]] = {
    "objects": lambda count: b"{}," * count,
    "lists": lambda count: b"[[]]," * count,
    "objects of one key": lambda count: b'{"a":{"a":{"a":{}}}},' * count,
    "keys of their own": lambda count: b"".join(b'{"k%d":%d.5},' % (i, i) for i in range(count)),
    "strings of their own": lambda count: b"".join(b'"%d",' % i for i in range(count)),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_value_takes_no_more_memory_than_it_is_counted_for(shape: Callable[[int], bytes]) -> None:
    def counted_and_peak(raw: bytes) -> tuple[int, int]:
        counted = len(raw) + count_values(raw) * VALUE_BYTES
        return counted, count_work(lambda: orjson.loads(raw)).peak

    few, many = (counted_and_peak(body_of(shape(count), 1)) for count in (10, 4000))
    assert many[1] - few[1] < 1.2 * (many[0] - few[0])


_JSON = st.recursive(
    st.none() | st.integers(0, 9) | st.text('ab,:[]{}"\\\n', max_size=8),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(',:"\\', max_size=3), inside),
    max_leaves=40,
)


def true_count(tree: Any) -> int:
    """Count keys and values; an empty object or list twice."""
    if tree in ({}, []):
        return 2
    if isinstance(tree, dict):
        return 1 + len(tree) + sum(map(true_count, tree.values()))
    return 1 + sum(map(true_count, tree)) if isinstance(tree, list) else 1


@given(_JSON)
def test_values_are_counted_exactly_outside_of_strings(tree: Any) -> None:
    raw, count = orjson.dumps(tree), true_count(tree)
    assert count_values(raw) >= count
    for most in (0, 1, count - 1, count, count + 1):
        assert (count_values(raw, most) > most) == (count > most)


def test_a_count_ends_soon_after_its_limit_and_survives_every_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = orjson.dumps({"a\\": ['",[{:' * 5, "\\" * 7, 'x\\"'], '\\"': {"b": [1, 2, 3]}})
    for piece in range(1, 30):
        monkeypatch.setattr("proxy.http.input_budget._PIECE", piece)
        assert count_values(raw, 1) > 1
        assert count_values(raw, 13) == true_count(orjson.loads(raw)) == 13


def targets_below(outer: dict[str, Any], count: int, own: dict[str, Any]) -> str:
    fallback = {"strategy": {"mode": "fallback"}}
    groups = [{**fallback, "targets": [own] * 100} for _ in range(count // 100)]
    return orjson.dumps({**fallback, **outer, "targets": groups}).decode()


KEYS = {f"k{i}": 0 for i in range(2400)}
NAMES = [f"x-{i}" for i in range(100)]
PRODUCTS = {
    "inherited overrides": targets_below({"override_params": KEYS}, 800, {}),
    "inherited defaults": targets_below({"default_params": KEYS}, 800, {}),
    "own keys beside inherited ones": targets_below(
        {"override_params": dict(list(KEYS.items())[:100])}, 200, {"override_params": {"a": 1}}
    ),
    "inherited header names": targets_below({"forward_headers": NAMES}, 800, {}),
}


@pytest.mark.parametrize("text", PRODUCTS.values(), ids=PRODUCTS.keys())
async def test_keys_times_targets_are_limited(text: str) -> None:
    raw = parse_config_json(text)

    def parse_it() -> None:
        with pytest.raises(ConfigError, match="10000 parameters and header names"):
            parse_config(raw)

    work = count_work(parse_it)
    assert work.steps < 1_000_000
    assert work.peak < 8 << 20
    async with gateway_to() as (ours, fake):
        got = await ours.draw(config=text, **UP)
        assert (got.status, got.error["code"], fake.requests) == (400, "invalid_config", [])


def test_targets_share_what_they_inherit() -> None:
    big = {"override_params": {"a": "x" * 20_000}, "default_params": {"b": [0] * 3000}}
    text = targets_below(big, 900, {})
    leaves = parse_config(parse_config_json(text)).leaves
    assert len({id(it.override_params) for it in leaves}) == 1
    settings = parse("virtual_keys: {up: {provider: openai, api_key: k0123456789}}", environ={})
    headers, params = CIMultiDict({"x-portkey-config": text}), {"model": "@up/m"}
    plan = Resolver(settings).resolve(headers, Caller("c"), params)
    root = plan.root
    assert isinstance(root, StrategyNode)
    dumped: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxy.routing.plan.orjson", CountingJson(dumped))
        assert root.cache_identity
        assert root.config_version
    assert sum(dumped) < 1 << 20


class CountingJson:
    """Stands for orjson; counts the bytes that it writes."""

    OPT_SORT_KEYS, OPT_NON_STR_KEYS = orjson.OPT_SORT_KEYS, orjson.OPT_NON_STR_KEYS

    def __init__(self, written: list[int]) -> None:
        self._written = written

    def dumps(self, value: Any, option: int = 0) -> bytes:
        text = orjson.dumps(value, option=option)
        self._written.append(len(text))
        return text


async def test_forwarded_header_names_are_limited() -> None:
    names = ",".join(["a"] * 101)
    async with gateway_to() as (ours, fake):
        got = await ours.draw(x_portkey_forward_headers=names, **UP)
        assert (got.status, got.error["code"]) == (400, "invalid_forward_header")
        config = orjson.dumps({**UP, "forward_headers": names.split(",")}).decode()
        assert (await ours.draw(config=config)).status == 400
        assert not fake.requests


async def test_others_are_served_between_targets_that_refuse() -> None:
    config = targets_below({"override_params": {"n": 1000}}, 500, UP)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with gateway_to() as (ours, fake):
        counting = asyncio.create_task(count_turns())
        got = await ours.draw(config=config)
        counting.cancel()
    assert (got.status, got.error["param"], fake.requests) == (400, "n", [])
    assert turns > 400
