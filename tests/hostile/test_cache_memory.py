"""What a cache entry holds beside its images counts, and goes when its caller deletes it."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from adapters import get_adapter
from adapters.contract import Credentials
from adapters.table.receipt import Receipt
from proxy.cache.entry import CacheEntry
from proxy.cache.hot_responses import HotResponse, HotResponses
from proxy.cache.store import CACHE
from proxy.routing.plan import Target
from tests.support.gateway import OTHER_KEY, gateway_to

CONFIG = orjson.dumps({"virtual_key": "up", "cache": {"mode": "simple"}}).decode()


def hot(caller: str = "one", namespace: str = "", **fields: object) -> HotResponse:
    target = Target(get_adapter("openai"), Credentials("k"), "https://a.example/v1")
    target = msgspec.structs.replace(target, **fields)
    entry = CacheEntry((), 0.0, caller=caller, namespace=namespace)
    return HotResponse(b"x", "job", Receipt(), target, b"key", entry)


@pytest.mark.parametrize("field", ["namespace", "caller"])
def test_the_names_of_an_entry_count(field: str) -> None:
    assert CacheEntry((), 0.0, **{field: "n" * 30_000}).weight > 30_000  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"override_params": {f"k{it}": "v" for it in range(2000)}},
        {"default_params": {"a": [{}] * 5000}},
        {"drop_params": tuple(f"a[{it}]" for it in range(3000))},
        {"forwarded_headers": {"x-a": "v" * 20_000}},
    ],
    ids=["override_params", "default_params", "drop_params", "forwarded_headers"],
)
def test_the_target_of_a_hot_response_counts(fields: dict[str, Any]) -> None:
    assert hot(**fields).size > hot().size + 100_000


def test_only_the_callers_hot_responses_are_purged() -> None:
    responses = HotResponses(100_000)
    held = {b"a": hot(), b"b": hot(namespace="n"), b"c": hot(caller="two")}
    for digest, response in held.items():
        responses.put(digest, response)
    responses.purge("one", "n")
    assert [responses.get(it) is not None for it in held] == [True, False, True]
    responses.purge("one", None)
    assert [responses.get(it) is not None for it in held] == [False, False, True]


async def test_deleting_the_cache_frees_what_is_hot() -> None:
    async with gateway_to() as (ours, _):
        for key in ({}, {"api_key": OTHER_KEY}):
            for _ in range(2):
                assert (await ours.ask({"prompt": "a"}, config=CONFIG, **key)).status == 200
        held = ours.app[CACHE].hot_responses._responses
        assert len(held) == 2
        await ours.app[CACHE].purge(next(iter(held.values())).entry.caller, None)
        assert len(held) == 1


@pytest.mark.parametrize(("length", "status"), [(256, 200), (257, 400), (30_000, 400)])
async def test_a_namespace_has_a_bound(length: int, status: int) -> None:
    async with gateway_to() as (ours, _):
        headers = {"x_portkey_cache_namespace": "n" * length}
        got = await ours.ask({"prompt": "a"}, config=CONFIG, **headers)
        assert got.status == status
        if status != 200:
            assert got.error["param"] == "x-portkey-cache-namespace"
