"""A resolved plan serves later requests, and holds nothing of one client."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.routing.plan import Caller, Target
from proxy.routing.plan_cache import SizedLRU, memory_size
from proxy.routing.resolver import Resolver
from proxy.settings.loader import Settings, parse
from proxy.settings.routing_config import parse_config as parsed

KEY = "sk-callers-own-0123456789"
KEPT = {
    "a virtual key": {"x-portkey-virtual-key": "up"},
    "a provider that is one": {"x-portkey-provider": "@up"},
    "a saved config": {"x-portkey-config": "pc-ours"},
    "an inline config": {"x-portkey-config": '{"virtual_key": "up"}'},
}
NOT_KEPT = {
    "a key of the caller's": {"x-portkey-provider": "openai", "authorization": f"Bearer {KEY}"},
    "a config with one": {"x-portkey-config": f'{{"provider": "openai", "api_key": "{KEY}"}}'},
    "a header": {"x-portkey-virtual-key": "up", "x-portkey-forward-headers": "x-tenant"},
    "a config's header": {
        "x-portkey-config": '{"virtual_key": "up", "forward_headers": ["x-tenant"]}'
    },
    "a name of any length": {"x-portkey-config": "pc-ours", "x-portkey-virtual-key": "x" * 2000},
}
STORED = parse(
    f"""
    virtual_keys: {{up: {{provider: openai, api_key: {KEY}}}}}
    configs: {{pc-ours: {{provider: openai, api_key: {KEY}}}}}
    """,
    environ={},
)


@pytest.mark.parametrize("headers", KEPT.values(), ids=KEPT.keys())
def test_what_leads_where_others_led_is_resolved_once(headers: dict[str, str]) -> None:
    resolver = Resolver(STORED)
    one, other = (
        resolver.resolve(CIMultiDict(headers), Caller(name), {"prompt": name})
        for name in ("a", "b")
    )
    assert one.root is other.root
    assert (one.caller, other.caller, other.params) == ("a", "b", {"prompt": "b"})


@pytest.mark.parametrize("headers", NOT_KEPT.values(), ids=NOT_KEPT.keys())
def test_nothing_of_one_clients_is_kept_for_the_next(headers: dict[str, str]) -> None:
    resolver = Resolver(STORED)
    sent = CIMultiDict({**headers, "x-tenant": "acme"})
    one, other = (resolver.resolve(sent, Caller("a"), {}) for _ in range(2))
    assert one.root is not other.root


@pytest.mark.parametrize(
    "told", [{"x-portkey-request-timeout": "7"}, {"x-easel-unsupported": "strict"}]
)
def test_a_tree_is_another_one_where_a_header_has_a_part_in_it(told: dict[str, str]) -> None:
    resolver, asked = Resolver(STORED), {"x-portkey-virtual-key": "up"}
    roots = [
        resolver.resolve(CIMultiDict(it), Caller("a"), {}).root for it in (asked, asked | told)
    ]
    assert roots[0] != roots[1]


def test_a_model_names_its_own_virtual_key_each_time() -> None:
    names = {"up": STORED.virtual_keys["up"], "other": STORED.virtual_keys["up"]}
    resolver = Resolver(Settings(virtual_keys=names))
    plans = [resolver.resolve(CIMultiDict(), Caller("a"), {"model": f"@{it}/m"}) for it in names]
    assert [it.root.virtual_key for it in plans if isinstance(it.root, Target)] == ["up", "other"]


def test_the_longest_unused_goes_first() -> None:
    kept: SizedLRU[str, str] = SizedLRU(max_bytes=2 * memory_size(("a", "A")))
    kept.put("a", "A")
    kept.put("b", "B")
    assert kept.get("a")
    kept.put("c", "C")
    assert [bool(kept.get(name)) for name in "abc"] == [True, False, True]


def test_what_comes_again_is_counted_once() -> None:
    kept: SizedLRU[str, str] = SizedLRU(max_bytes=2 * memory_size(("a", "A")))
    for name in "aaab":
        kept.put(name, name.upper())
    assert [kept.get(name) for name in "ab"] == ["A", "B"]


def test_what_is_larger_than_all_room_drives_nothing_out() -> None:
    kept: SizedLRU[str, str] = SizedLRU(max_bytes=1000)
    kept.put("a", "A")
    kept.put("b", "B" * 1000)
    assert [kept.get(name) for name in "ab"] == ["A", None]


@pytest.mark.parametrize(
    "value",
    [
        {"override_params": {"user": "u" * 10_000}},
        {"targets": [{"virtual_key": "up", "name": f"t{i}"} for i in range(10)]},
    ],
)
def test_the_bytes_of_a_config_are_counted(value: dict[str, Any]) -> None:
    assert memory_size(parsed({"virtual_key": "up"})) + 10_000 < memory_size(parsed(value))
