"""What a reload has changed is told by name, and never by value."""

from __future__ import annotations

from proxy.reload.diff import describe_changes
from proxy.settings.loader import parse

CONDITION = "configs: {c: {strategy: {mode: conditional, conditions: [{query: {metadata.a: b}, then: t}]}, targets: [{name: t, provider: openai}]}}"  # noqa: E501 - YAML of one line


def told(before: str, after: str) -> str:
    return describe_changes(parse(before, environ={}), parse(after, environ={}))


def test_what_is_the_same_is_not_told_of() -> None:
    for text in ("", "virtual_keys: {s: {provider: sandbox}}", CONDITION):
        assert told(text, text) == ""


def test_a_condition_that_says_something_else_is_a_change() -> None:
    assert told(CONDITION, CONDITION.replace("a: b", "a: x")) == "configs: changed c"


def test_an_api_key_with_another_config_has_changed() -> None:
    key = "api_keys: {a: {key: easel-test-key-0123456789%s}}\nconfigs: {c: {}}"
    assert told(key % "", key % ", config: c") == "api_keys: changed a"


def test_no_value_is_told() -> None:
    text = "virtual_keys: {v: {provider: openai, api_key: %s}}"
    assert told(text % "sk-first", text % "sk-second") == "virtual_keys: changed v"


def test_of_many_names_the_first_are_told() -> None:
    many = "configs: {" + ", ".join(f"c{i:03}: {{}}" for i in range(120)) + "}"
    said = told("", many)
    assert said.startswith("configs: added c000, c001")
    assert said.endswith("c049 and 70 more")
