"""Small inputs that become large: work and memory are bounded by what an input becomes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters import get_adapter
from adapters.contract import Credentials
from proxy.pipeline.params import final_params
from proxy.routing.plan import Target
from proxy.settings.routing_config import MAX_DROP_PATHS, ConfigError, parse_config
from tests.support.counted_work import count_work
from tests.support.gateway import gateway_to

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
