"""The config object: valid keys, and the message for every invalid one."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.settings import routing_config
from proxy.settings.conditions import RequestFacts
from proxy.settings.policies import BreakerPolicy
from proxy.settings.routing_config import (
    MAX_DEPTH,
    MAX_ERRORS,
    MAX_KEYS,
    MAX_TARGETS,
    MAX_TOTAL_TARGETS,
    Config,
    ConfigError,
    ErrorCollector,
    parse_config,
    weight_of,
)

WORDS = sorted(
    routing_config.CONFIG_KEYS
    | routing_config.IGNORED_KEYS
    | routing_config.NESTING_KEYS
    | routing_config.UNSUPPORTED_KEYS
)
KEYS: Any = st.sampled_from([*WORDS, "mode", "max_age", "azure_api_version"]) | st.text(max_size=4)
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
LEVEL: Any = st.dictionaries(KEYS, JSON, max_size=5)
TREE: Any = st.fixed_dictionaries(
    {"targets": st.lists(LEVEL | JSON, max_size=3)},
    optional={
        "strategy": JSON | st.just({"mode": "single"}),
        "override_params": JSON,
        "cache": JSON | st.just({"mode": "simple"}),
    },
)


def errors_of(raw: Any) -> dict[str, str]:
    """Return the errors of a config, by path."""
    with pytest.raises(ConfigError) as caught:
        parse_config(raw)
    return {error.path: error.message for error in caught.value.errors}


@settings(max_examples=300)
@given(JSON | LEVEL | TREE)
def test_any_json_is_a_config_or_a_config_error(raw: Any) -> None:
    with suppress(ConfigError):
        assert isinstance(parse_config(raw), Config)


@pytest.mark.parametrize("raw", [None, 1, "x", [], [{}]])
def test_only_an_object_is_a_config(raw: Any) -> None:
    assert errors_of(raw) == {"": "a config must be a JSON object"}


def test_an_empty_config_changes_nothing() -> None:
    assert parse_config({}) == Config()


def test_every_key_arrives_where_it_belongs() -> None:
    raw = {
        "provider": "p",
        "api_key": "k",
        "virtual_key": "v",
        "custom_host": "http://h",
        "override_params": {"a": 1},
        "default_params": {"b": 2},
        "drop_params": ["c"],
        "forward_headers": ["d"],
    }
    read = parse_config(raw)
    lists = {"drop_params": ("c",), "forward_headers": ("d",)}
    assert {name: getattr(read, name) for name in raw} == {**raw, **lists}


def test_a_request_timeout_is_milliseconds() -> None:
    assert parse_config({"request_timeout": 1500}).request_timeout == 1.5


def test_a_cache_lives_seven_days_unless_told() -> None:
    found = parse_config({"cache": {"mode": "simple"}}).cache
    assert found
    assert found.max_age == 604_800


@pytest.mark.parametrize("mode", ["simple", "semantic"])
def test_both_modes_of_cache_are_known(mode: str) -> None:
    assert parse_config({"cache": {"mode": mode, "max_age": 60}}).cache


def test_a_text_of_another_name_is_a_providers_option() -> None:
    assert parse_config({"azure_api_version": "v1"}).options == {"azure_api_version": "v1"}


@pytest.mark.parametrize("key", sorted(routing_config.IGNORED_KEYS))
def test_keys_without_an_effect_on_images_are_accepted(key: str) -> None:
    assert parse_config({"provider": "p", key: 1}) == parse_config({"provider": "p"})


@pytest.mark.parametrize("key", sorted(routing_config.UNSUPPORTED_KEYS))
def test_what_is_not_honoured_is_refused(key: str) -> None:
    assert errors_of({key: {}}) == {key: "is not supported"}


@pytest.mark.parametrize("key", sorted(routing_config.CONFIG_KEYS))
def test_null_is_as_good_as_nothing(key: str) -> None:
    assert parse_config({key: None}) == Config()


def conditional(*conditions: Any, **more: Any) -> dict[str, Any]:
    """Return a config with conditions over two targets, `a` and `b`."""
    strategy = {"mode": "conditional", "conditions": list(conditions), **more}
    return {"strategy": strategy, "targets": [{"name": "a"}, {"name": "b"}]}


def strategy(**keys: Any) -> dict[str, Any]:
    """Return a config with a strategy over one target."""
    return {"strategy": keys, "targets": [{}]}


def nest(levels: int) -> dict[str, Any]:
    """Return a config with this many levels."""
    config: dict[str, Any] = {"provider": "p"}
    for _ in range(levels - 1):
        config = {"targets": [config]}
    return config


def query(**wanted: Any) -> dict[str, Any]:
    return conditional({"query": {"params.n": wanted}, "then": "a"})


GOOD = {"query": {"params.n": 1}, "then": "a"}
ZERO = {"provider": "p", "weight": 0}
COUNT, PERCENT = "failure_threshold", "failure_threshold_percentage"
LARGE = {"query": {"params.n": {"$regex": "a{999}"}}, "then": "a"}
STICKY, HEED = "strategy.sticky", "use_retry_after_header"
IN_QUERY = "strategy.conditions[0].query"

BAD: list[tuple[Any, str, str]] = [
    ({"api_key": 5}, "api_key", "must be a string"),
    ({"provider": []}, "provider", "must be a string"),
    ({"virtual_key": {}}, "virtual_key", "must be a string"),
    ({"custom_host": True}, "custom_host", "must be a string"),
    ({"name": 1}, "name", "must be a string"),
    ({"override_params": []}, "override_params", "must be a mapping of keys to values"),
    ({"default_params": "x"}, "default_params", "must be a mapping of keys to values"),
    ({"drop_params": "user"}, "drop_params", "must be a list"),
    ({"drop_params": [1]}, "drop_params[0]", "must be a string"),
    ({"forward_headers": {"a": 1}}, "forward_headers", "must be a list"),
    ({"request_timeout": "5s"}, "request_timeout", "must be a whole number"),
    ({"request_timeout": 1.5}, "request_timeout", "must be a whole number"),
    ({"request_timeout": True}, "request_timeout", "must be a whole number"),
    ({"request_timeout": 0}, "request_timeout", "must be 1 to 3600000 milliseconds"),
    ({"request_timeout": 10**400}, "request_timeout", "must be 1 to 3600000 milliseconds"),
    ({"keepalive": 601}, "keepalive", "must be 0 to 600 seconds"),
    ({"keepalive": 0.5}, "keepalive", "must be a whole number"),
    ({"weight": -1}, "weight", "must be 0 to 1000000"),
    ({"weight": float("nan")}, "weight", "must be 0 to 1000000"),
    ({"weight": float("inf")}, "weight", "must be 0 to 1000000"),
    ({"weight": 10**400}, "weight", "out of range"),
    ({"weight": "heavy"}, "weight", "must be a number"),
    ({"cache": "simple"}, "cache", "must be a mapping of keys to values"),
    ({"cache": {}}, "cache", "needs 'mode'"),
    ({"cache": {"pool": True}}, "cache", "needs 'mode'"),
    ({"cache": {"mode": "exact"}}, "cache.mode", "must be one of: simple, semantic"),
    ({"cache": {"mode": 1}}, "cache.mode", "must be a string"),
    ({"cache": {"mode": "simple", "max_age": 1}}, "cache.max_age", "60 to 7776000 seconds"),
    ({"cache": {"mode": "simple", "max_aeg": 60}}, "cache.max_aeg", "did you mean max_age?"),
    ({"retry": {}}, "retry", "needs 'attempts'"),
    ({"retry": 3}, "retry", "must be a mapping of keys to values"),
    ({"retry": [{"attempts": 1}]}, "retry", "must be a mapping of keys to values"),
    ({"retry": {"attempts": None}}, "retry.attempts", "must be a whole number"),
    ({"retry": {"attempts": 6}}, "retry.attempts", "must be 0 to 5"),
    ({"retry": {"attempts": -1}}, "retry.attempts", "must be 0 to 5"),
    ({"retry": {"attempts": 10**400}}, "retry.attempts", "must be 0 to 5"),
    ({"retry": {"attempts": 1, "atempts": 1}}, "retry.atempts", "did you mean attempts?"),
    ({"retry": {"attempts": 1, "on_status_codes": 429}}, "retry.on_status_codes", "a list"),
    ({"retry": {"attempts": 1, "on_status_codes": [42]}}, "retry.on_status_codes", "100 to 599"),
    ({"retry": {"attempts": 1, "on_status_codes": ["x"]}}, "retry.on_status_codes[0]", "number"),
    ({"retry": {"attempts": 1, "use_retry_after_header": 2}}, f"retry.{HEED}", "true or"),
    ({"cb_config": {}}, f"cb_config.{COUNT}", "must be given"),
    ({"cb_config": {COUNT: 0}}, f"cb_config.{COUNT}", "must be 1 to"),
    ({"cb_config": {COUNT: "many"}}, f"cb_config.{COUNT}", "must be a whole number"),
    ({"cb_config": {PERCENT: 101}}, f"cb_config.{PERCENT}", "must be 0 to 100"),
    ({"cb_config": {PERCENT: 10**400}}, f"cb_config.{PERCENT}", "out of range"),
    ({"cb_config": {COUNT: 1, "cooldown_interval": 5}}, "cb_config.cooldown_interval", "30000 to"),
    ({"cb_config": {COUNT: 1, "minimum_requests": 0}}, "cb_config.minimum_requests", "1 to"),
    ({"overide_params": {}}, "overide_params", "did you mean override_params?"),
    ({"weird": 1}, "weird", "is not a key of a config"),
    ({f"k{i}": 1 for i in range(10_000)}, "", f"must hold at most {MAX_KEYS} keys"),
    ({"strategy": {"mode": "single"}}, "targets", "must be a list with at least one"),
    ({"targets": []}, "targets", "must be a list with at least one"),
    ({"targets": {}}, "targets", "must be a list with at least one"),
    ({"targets": None}, "targets", "must be a list with at least one"),
    ({"targets": ["x"]}, "targets[0]", "must be a config object"),
    ({"targets": [{}, [], {}]}, "targets[1]", "must be a config object"),
    ({"targets": [{}] * 1_000_000}, "targets", f"must hold at most {MAX_TARGETS} targets"),
    (
        {"targets": [{"targets": [{}] * 100}] * 10},
        "targets[9].targets",
        f"must hold at most {MAX_TOTAL_TARGETS} targets in all",
    ),
    (nest(10_000), "targets[0]." * (MAX_DEPTH - 1) + "targets", "8 levels deep"),
    ({"targets": [{}, {"retry": {"attempts": "x"}}]}, "targets[1].retry.attempts", "number"),
    ({"targets": [{"targets": []}]}, "targets[0].targets", "must be a list"),
    ({"strategy": None, "targets": [{}]}, "strategy", "must be a mapping"),
    ({"strategy": "single", "targets": [{}]}, "strategy", "must be a mapping"),
    (strategy(), "strategy", "needs 'mode'"),
    (strategy(mode="best"), "strategy.mode", "single, loadbalance, fallback, conditional"),
    (strategy(mode=1), "strategy.mode", "must be a string"),
    (strategy(mode="single", mdoe=1), "strategy.mdoe", "did you mean mode?"),
    (strategy(mode="fallback", on_refusal="go"), "strategy.on_refusal", "one of: stop, next"),
    (strategy(mode="fallback", on_status_codes=[1]), "strategy.on_status_codes", "100 to 599"),
    (strategy(mode="fallback", on_status_codes="5xx"), "strategy.on_status_codes", "a list"),
    (strategy(mode="fallback", cb_config={}), f"strategy.cb_config.{COUNT}", "must be given"),
    (strategy(mode="loadbalance", sticky=True), "strategy.sticky", "must be a mapping"),
    (strategy(mode="loadbalance", sticky={}), "strategy.sticky", "needs 'hash_fields'"),
    (strategy(mode="loadbalance", sticky={"hash_fields": ["i"]}), f"{STICKY}.hash_fields", "key>"),
    (strategy(mode="single", sticky_session={"ttl": 1}), f"{STICKY}_session", "needs"),
    ({"strategy": {"mode": "loadbalance"}, "targets": [ZERO, ZERO]}, "strategy.mode", "not 0"),
    (strategy(mode="conditional"), "strategy.conditions", "at least one condition"),
    (conditional(), "strategy.conditions", "at least one condition"),
    (conditional(1), "strategy.conditions[0]", "must be a mapping"),
    (conditional({}), IN_QUERY, "at least one condition"),
    (conditional({"query": {"params.n": 1}}), "strategy.conditions[0].then", "the name of a"),
    (conditional({**GOOD, "then": "c"}), "strategy.conditions[0].then", "the name of a target"),
    (conditional({**GOOD, "then": 0}), "strategy.conditions[0].then", "the name of a target"),
    (conditional({**GOOD, "than": "a"}), "strategy.conditions[0].than", "did you mean then?"),
    (conditional(GOOD, default="c"), "strategy.default", "the name of a target"),
    (conditional(GOOD, default=1), "strategy.default", "must be a string"),
    (conditional({"query": {"n": 1}, "then": "a"}), f"{IN_QUERY}.n", "metadata.<key>"),
    (query(**{"$gte": []}), f"{IN_QUERY}.params.n.$gte", "must be a string"),
    (query(**{"$near": 1}), f"{IN_QUERY}.params.n.$near", "is not an operator"),
    (query(**{"$regex": "(a"}), f"{IN_QUERY}.params.n.$regex", "regular expression"),
    (query(**{"$regex": "(x{500}){500}"}), f"{IN_QUERY}.params.n.$regex", "regular expression"),
    (conditional(LARGE, LARGE), "strategy.conditions[1].query.params.n.$regex", "too large"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "path", "message"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_told_with_its_place_and_soon(raw: Any, path: str, message: str) -> None:
    began = time.process_time()
    (found,) = errors_of(raw).items()
    assert found[0] == path
    assert message in found[1]
    assert time.process_time() - began < 1


def test_not_every_one_of_many_faults_is_told() -> None:
    targets = [{"targets": [{"weird": 1}] * MAX_TARGETS}] * MAX_TARGETS
    began = time.process_time()
    assert len(errors_of({"targets": targets})) <= 2 * MAX_ERRORS
    assert time.process_time() - began < 1


def test_everything_wrong_is_told_at_once() -> None:
    targets = [{"drop_params": 1, "api_key": 5}]
    raw = {"retry": {}, "cache": {"mode": "x"}, "strategy": {}, "targets": targets}
    told = ["retry", "cache.mode", "targets[0].drop_params", "targets[0].api_key", "strategy"]
    assert list(errors_of(raw)) == told


def test_what_is_wrong_is_told_in_sentences() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"retry": {}, "overide_params": {}})
    assert caught.value.full_message == (
        "retry: needs 'attempts'. "
        "overide_params: is not a key of a config; did you mean override_params?"
    )


def test_no_value_stands_in_a_sentence() -> None:
    raw = {"api_key": ["sekret"], "cache": {"mode": "sekret"}, "request_timeout": "sekret"}
    assert not re.search("sekret", str(errors_of(raw)))


@pytest.mark.parametrize("mode", ["single", "loadbalance", "fallback"])
def test_a_strategy_keeps_its_targets_in_order(mode: str) -> None:
    found = parse_config(
        {"strategy": {"mode": mode}, "targets": [{"provider": "p"}, {"provider": "q"}]}
    )
    assert found.strategy.mode == mode
    assert [target.provider for target in found.targets] == ["p", "q"]


def test_targets_without_a_strategy_are_a_single_one() -> None:
    assert parse_config({"targets": [{}]}).strategy.mode == "single"


def test_a_level_knows_its_place() -> None:
    found = parse_config({"targets": [{}, {"targets": [{}, {}]}]})
    ends = ["config.targets[0]", "config.targets[1].targets[0]", "config.targets[1].targets[1]"]
    assert [leaf.config_path for leaf in found.leaves] == ends
    assert found.targets[1].config_path == "config.targets[1]"


def test_a_config_may_have_all_its_levels() -> None:
    (leaf,) = parse_config(nest(MAX_DEPTH)).leaves
    assert leaf.config_path == "config" + ".targets[0]" * (MAX_DEPTH - 1)


def test_a_refusal_stops_unless_it_may_fall_through() -> None:
    assert not parse_config(strategy(mode="fallback")).strategy.on_refusal
    assert parse_config(strategy(mode="fallback", on_refusal="next")).strategy.on_refusal


def test_conditions_lead_to_targets_by_name() -> None:
    found = parse_config(conditional({**GOOD, "then": "b"}, default="a")).strategy
    ((test, at),) = found.conditions
    assert (at, found.default) == (1, 0)
    assert test(RequestFacts({}, {"n": 1}, "/"))


def test_the_first_of_two_targets_of_one_name_is_meant() -> None:
    raw = conditional(GOOD)
    raw["targets"].append({"name": "a"})
    assert parse_config(raw).strategy.conditions[0][1] == 0


@pytest.mark.parametrize("spelled", ["sticky", "sticky_session"])
def test_sticky_has_two_spellings(spelled: str) -> None:
    raw = strategy(mode="loadbalance", **{spelled: {"hash_fields": ["metadata.u"], "ttl": 60}})
    found = parse_config(raw).strategy.sticky
    assert found
    assert (found.hash_fields, found.ttl, found.enabled) == (("metadata.u",), 60, True)


@pytest.mark.parametrize(("raw", "weight"), [({}, 1), ({"weight": 0}, 0), ({"weight": 0.5}, 0.5)])
def test_a_target_weighs_one_unless_it_says_otherwise(raw: Any, weight: float) -> None:
    assert weight_of(parse_config(raw)) == weight


# What a target takes over from the levels above it.

TAKEN: dict[str, tuple[Any, Any]] = {
    "retry": ({"attempts": 1, "on_status_codes": [429]}, {"attempts": 2}),
    "cache": ({"mode": "simple", "max_age": 60}, {"mode": "simple"}),
    "cb_config": ({COUNT: 1, "minimum_requests": 5}, {COUNT: 2}),
    "request_timeout": (1000, 2000),
    "custom_host": ("http://a", "http://b"),
    "forward_headers": (["x-a"], ["x-b"]),
    "drop_params": (["a"], ["b"]),
    "unsupported": ("strict", "pass"),
}


@pytest.mark.parametrize("key", sorted(routing_config.INHERITED_KEYS))
def test_a_target_takes_over_what_stands_above_it(key: str) -> None:
    above, _ = TAKEN[key]
    (leaf,) = parse_config({key: above, "targets": [{"targets": [{}]}]}).leaves
    assert getattr(leaf, key) == getattr(parse_config({key: above}), key)


@pytest.mark.parametrize("key", sorted(routing_config.INHERITED_KEYS))
def test_a_targets_own_word_replaces_the_whole(key: str) -> None:
    above, own = TAKEN[key]
    (leaf,) = parse_config({key: above, "targets": [{key: own}]}).leaves
    assert getattr(leaf, key) == getattr(parse_config({key: own}), key)


@pytest.mark.parametrize("key", sorted(routing_config.MERGED_KEYS))
def test_parameters_are_merged_and_a_targets_own_win(key: str) -> None:
    raw = {key: {"a": 1, "b": 1, "c": {"x": 1}}, "targets": [{key: {"b": 2, "c": {"y": 2}}}, {}]}
    first, second = parse_config(raw).leaves
    assert getattr(first, key) == {"a": 1, "b": 2, "c": {"y": 2}}
    assert getattr(second, key) == raw[key]


@pytest.mark.parametrize("key", ["name", "weight"])
def test_a_name_and_a_weight_are_not_taken_over(key: str) -> None:
    (leaf,) = parse_config({key: {"name": "n", "weight": 2}[key], "targets": [{}]}).leaves
    assert getattr(leaf, key) is None


def test_keepalive_is_for_the_whole_request() -> None:
    assert parse_config({"keepalive": 15, "targets": [{}]}).keepalive == 15
    assert list(errors_of({"targets": [{"targets": [{"keepalive": 15}]}]})) == [
        "targets[0].targets[0].keepalive"
    ]


def test_a_strategy_is_not_taken_over() -> None:
    raw = {"strategy": {"mode": "fallback"}, "targets": [{"targets": [{}]}]}
    assert parse_config(raw).targets[0].strategy.mode == "single"


def test_a_strategys_breaker_is_that_of_its_targets_unless_they_have_their_own() -> None:
    raw = {"strategy": {"mode": "fallback", "cb_config": {COUNT: 2}}, "targets": [{}]}
    raw["targets"] = [{}, {"cb_config": {COUNT: 3}}]
    above = {"cb_config": {COUNT: 1}, "targets": [{}, raw]}
    breakers = [leaf.cb_config for leaf in parse_config(above).leaves]
    assert breakers == [BreakerPolicy(failure_threshold=count) for count in (1, 2, 3)]


def test_a_targets_bad_parameters_are_a_config_error_beside_good_ones() -> None:
    raw = {"override_params": {"a": 1}, "targets": [{"override_params": "x"}]}
    assert list(errors_of(raw)) == ["targets[0].override_params"]


@pytest.mark.parametrize(
    "key", [*sorted(routing_config.CONFIG_KEYS - routing_config.GROUP_KEYS), "azure_api_version"]
)
def test_what_a_target_would_not_take_over_is_refused_beside_it(key: str) -> None:
    assert list(errors_of({key: "x", "targets": [{"provider": "p"}]})) == [key]


def test_faults_that_are_none_raise_nothing() -> None:
    faults = ErrorCollector()
    with faults.collect():
        pass
    faults.raise_errors()
    assert faults.errors == []


def test_an_option_in_json_may_be_the_object_itself() -> None:
    assert parse_config({"provider": "p", "key_json": {"a": 1}}).options == {"key_json": '{"a":1}'}
    with pytest.raises(ConfigError):
        parse_config({"provider": "p", "key": {"a": 1}})
