"""Hints at what somebody may have meant."""

from __future__ import annotations

from proxy.settings.suggest import nearest


def test_a_hint_does_not_mind_the_case() -> None:
    assert nearest("OpenAI", {"openai", "bedrock"}) == "; did you mean openai?"


def test_nothing_near_is_no_hint() -> None:
    assert nearest("zzzzzz", {"openai"}) == ""


def test_a_wrong_name_is_not_held_against_any_number_of_names() -> None:
    few, many = ({f"key-{i}" for i in range(most)} for most in (100, 100_000))
    assert nearest("kye-7", few)
    assert not nearest("kye-7", many)
