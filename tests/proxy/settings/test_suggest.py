"""Suggestions for misspelled names."""

from __future__ import annotations

from proxy.settings.suggest import did_you_mean


def test_a_hint_does_not_mind_the_case() -> None:
    assert did_you_mean("OpenAI", {"openai", "bedrock"}) == "; did you mean openai?"


def test_nothing_near_is_no_hint() -> None:
    assert did_you_mean("zzzzzz", {"openai"}) == ""


def test_a_wrong_name_is_not_held_against_any_number_of_names() -> None:
    few, many = ({f"key-{i}" for i in range(most)} for most in (100, 100_000))
    assert did_you_mean("kye-7", few)
    assert not did_you_mean("kye-7", many)
