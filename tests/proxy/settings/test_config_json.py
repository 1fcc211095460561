"""The JSON parser for inline configs: what it rejects, with the path, and how fast."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.settings.config_json import InvalidJson, parse_config_json
from proxy.settings.routing_config import ConfigError

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "text", ['{"a": [1, -2.5, true, null]}', '"pc-1"', '{"a": "[[{\\"["}', "{}"]
)
def test_json_is_read(text: str) -> None:
    assert parse_config_json(text) == orjson.loads(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a": 1, "a": 1}', "a"),
        ('{"targets": [{}, {"retry": {"mode": 1, "mode": 5}}]}', "targets[1].retry.mode"),
        ('{"a": {"b": 1}, "a": {"c": 2}}', "a"),
        ('{"weight": NaN}', "weight"),
        ('{"weight": -Infinity}', "weight"),
        ('{"targets": [{"weight": 1e999}]}', "targets[0].weight"),
        ('{"retry": {"attempts": 1234567890123456789}}', "retry.attempts"),
        ('{"retry": {"attempts": %s}}' % ("9" * 1_000_000), "retry.attempts"),
        ('{"api_key": "\\ud800"}', "api_key"),
        ('{"override_params": {"\\udfff": 1}}', "override_params"),
        ("[" * 10_000, ""),
        ('{"targets":[' * 10_000 + "]}" * 10_000, ""),
        ('{"a":' * 33 + "1" + "}" * 33, ""),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_parsers_disagree_on_is_refused_at_its_place_and_soon(text: str, path: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError) as caught:
        parse_config_json(text)
    assert (caught.value.path, type(caught.value)) == (path, ConfigError)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "text", ["", "{", "[1", "nul", "'a'", '{"a": 1,}', "\ufeff{}", '"' + '\\"' * 100_000]
)  # fmt: skip
def test_what_is_no_json_is_told_apart(text: str) -> None:
    with pytest.raises(InvalidJson, match=r"must be valid JSON \(column \d+\)"):
        parse_config_json(text)


@pytest.mark.parametrize("text", ["123456789012345678", "-123456789012345678"])
def test_an_integer_may_have_eighteen_digits(text: str) -> None:
    assert parse_config_json(text) == int(text)


@given(JSON.map(json.dumps) | st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ConfigError):
        assert parse_config_json(text) == orjson.loads(text)
