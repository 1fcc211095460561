"""The config object: what it may hold, and every sentence about what it may not."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import configs
from proxy.configs import Config, ConfigError, Faults, nearest, parse

WORDS = sorted(configs.KEYS | configs.NOTED | configs.TREE | configs.LATER)
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


def wrong(raw: Any) -> dict[str, str]:
    """Give what is wrong with a config, by path."""
    with pytest.raises(ConfigError) as caught:
        parse(raw)
    return {error.path: error.message for error in caught.value.all}


@settings(max_examples=300)
@given(JSON | LEVEL | TREE)
def test_any_json_is_a_config_or_a_config_error(raw: Any) -> None:
    with suppress(ConfigError):
        assert isinstance(parse(raw), Config)


@pytest.mark.parametrize("raw", [None, 1, "x", [], [{}]])
def test_only_an_object_is_a_config(raw: Any) -> None:
    assert wrong(raw) == {"": "a config must be a JSON object"}


def test_an_empty_config_changes_nothing() -> None:
    assert parse({}) == Config()


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
    read = parse(raw)
    lists = {"drop_params": ("c",), "forward_headers": ("d",)}
    assert {name: getattr(read, name) for name in raw} == {**raw, **lists}


def test_a_request_timeout_is_milliseconds() -> None:
    assert parse({"request_timeout": 1500}).request_timeout == 1.5


def test_a_cache_lives_seven_days_unless_told() -> None:
    found = parse({"cache": {"mode": "simple"}}).cache
    assert found
    assert found.max_age == 604_800


@pytest.mark.parametrize("mode", ["simple", "semantic"])
def test_both_modes_of_cache_are_known(mode: str) -> None:
    assert parse({"cache": {"mode": mode, "max_age": 60}}).cache


def test_a_text_of_another_name_is_a_providers_option() -> None:
    assert parse({"azure_api_version": "v1"}).options == {"azure_api_version": "v1"}


@pytest.mark.parametrize("key", sorted(configs.NOTED))
def test_keys_without_an_effect_on_a_picture_are_accepted(key: str) -> None:
    assert parse({"provider": "p", key: 1}) == parse({"provider": "p"})


@pytest.mark.parametrize("key", sorted(configs.LATER))
def test_what_is_not_honoured_is_refused(key: str) -> None:
    assert wrong({key: {}}) == {key: "is not supported here"}


@pytest.mark.parametrize("key", sorted(configs.KEYS))
def test_null_is_as_good_as_nothing(key: str) -> None:
    assert parse({key: None}) == Config()


@pytest.mark.parametrize(
    ("raw", "path", "message"),
    [
        ({"api_key": 5}, "api_key", "must be a text"),
        ({"override_params": []}, "override_params", "must be a mapping of keys to values"),
        ({"drop_params": "user"}, "drop_params", "must be a list"),
        ({"drop_params": [1]}, "drop_params[0]", "must be a text"),
        ({"request_timeout": "5s"}, "request_timeout", "must be a whole number"),
        ({"request_timeout": 0}, "request_timeout", "must be 1 to 3600000 milliseconds"),
        ({"cache": "simple"}, "cache", "must be a mapping of keys to values"),
        ({"cache": {}}, "cache", "needs 'mode'"),
        ({"cache": {"mode": "exact"}}, "cache.mode", "must be one of: simple, semantic"),
        (
            {"cache": {"mode": "simple", "max_age": 1}},
            "cache.max_age",
            "must be 60 to 7776000 seconds",
        ),
        (
            {"cache": {"mode": "simple", "max_aeg": 60}},
            "cache.max_aeg",
            "is not known here; did you mean max_age?",
        ),
        ({"overide_params": {}}, "overide_params", "did you mean override_params?"),
        ({"weird": 1}, "weird", "is not a key of a config"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(raw: Any, path: str, message: str) -> None:
    (found,) = wrong(raw).items()
    assert found[0] == path
    assert message in found[1]


def test_everything_wrong_is_told_at_once() -> None:
    raw = {"retry": {}, "cache": {"mode": "x"}, "targets": [{"drop_params": 1, "api_key": 5}]}
    told = ["retry", "cache.mode", "targets[0].drop_params", "targets[0].api_key"]
    assert list(wrong(raw)) == told


def test_what_is_wrong_is_told_in_sentences() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"retry": {}, "overide_params": {}})
    assert caught.value.sentences == (
        "retry: is not supported here. "
        "overide_params: is not a key of a config; did you mean override_params?"
    )


def test_no_value_stands_in_a_sentence() -> None:
    raw = {"api_key": ["sekret"], "cache": {"mode": "sekret"}, "request_timeout": "sekret"}
    assert not re.search("sekret", str(wrong(raw)))


@pytest.mark.parametrize("mode", ["single", "loadbalance", "fallback"])
def test_a_strategy_with_one_target_is_that_target(mode: str) -> None:
    found = parse({"strategy": {"mode": mode}, "targets": [{"virtual_key": "v"}]})
    assert (found.virtual_key, found.index) == ("v", "config.targets[0]")


def test_a_target_inherits_and_its_own_word_wins() -> None:
    outer = {
        "request_timeout": 1000,
        "custom_host": "http://a",
        "override_params": {"a": 1, "b": 1},
    }
    inner = {"custom_host": "http://b", "override_params": {"b": 2}}
    found = parse({**outer, "targets": [inner]})
    assert (found.request_timeout, found.custom_host) == (1.0, "http://b")
    assert found.override_params == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({"strategy": {"mode": "best"}, "targets": [{}]}, "strategy.mode"),
        ({"strategy": "single", "targets": [{}]}, "strategy.mode"),
        ({"strategy": {"mode": "conditional"}, "targets": [{}]}, "strategy.mode"),
        ({"strategy": {"mode": "single"}}, "targets"),
        ({"targets": []}, "targets"),
        ({"targets": ["x"]}, "targets"),
        ({"targets": [{}, {}]}, "targets"),
        ({"targets": [{"targets": [{}]}]}, "targets[0].targets"),
    ],
)
def test_a_strategy_that_cannot_be_followed_is_refused(raw: Any, path: str) -> None:
    assert list(wrong(raw)) == [path]


def test_a_targets_bad_parameters_are_a_config_error_beside_good_ones() -> None:
    raw = {"override_params": {"a": 1}, "targets": [{"override_params": "x"}]}
    assert list(wrong(raw)) == ["targets[0].override_params"]


@pytest.mark.parametrize("key", [*sorted(configs.KEYS - configs.SHARED), "azure_api_version"])
def test_what_a_target_would_not_take_over_is_refused_beside_it(key: str) -> None:
    value = {"default_params": {"a": 1}, "drop_params": ["a"]}.get(key, "x")
    assert list(wrong({key: value, "targets": [{"provider": "p"}]})) == [key]


def test_a_hint_does_not_mind_the_case() -> None:
    assert nearest("OpenAI", {"openai", "bedrock"}) == "; did you mean openai?"


def test_nothing_near_is_no_hint() -> None:
    assert nearest("zzzzzz", {"openai"}) == ""


def test_faults_that_are_none_raise_nothing() -> None:
    faults = Faults()
    with faults.noted():
        pass
    faults.raise_any()
    assert faults.errors == []
