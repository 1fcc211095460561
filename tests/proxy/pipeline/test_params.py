"""Final parameters: defaults, overrides, drops, in this order."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from adapters import get_adapter
from adapters.contract import Credentials
from proxy.pipeline.params import drop_paths, final_model, final_params
from proxy.routing.plan import Target


def test_defaults_give_way_to_the_client_and_overrides_to_nobody() -> None:
    target = Target(
        get_adapter("openai"),
        Credentials(),
        "https://api.openai.com/v1",
        default_params={"size": "auto", "user": "default"},
        override_params={"model": "gpt-image-2"},
        drop_params=("user",),
    )
    params = {"prompt": "p", "size": "1024x1024", "model": "other"}
    expected = {"prompt": "p", "size": "1024x1024", "model": "gpt-image-2"}
    assert final_params(params, target) == expected


def test_the_model_alone_is_that_of_all_parameters() -> None:
    target = Target(
        get_adapter("openai"),
        Credentials(),
        "https://api.openai.com/v1",
        default_params={"model": "default"},
        virtual_key="up",
    )
    cases: list[tuple[dict[str, str], Target, str | None]] = [
        ({}, target, "default"),
        ({"model": "@up/own"}, target, "own"),
        ({"model": "own"}, replace(target, override_params={"model": "theirs"}), "theirs"),
        ({"model": "own"}, replace(target, drop_params=("model",)), None),
    ]
    for params, chosen, model in cases:
        assert final_model(params, chosen) == final_params(params, chosen).get("model") == model


def test_paths_refer_to_the_parameters_as_they_were() -> None:
    params = {"a": [1, 2, 3], "*": [{"b": 1, "c": 2}, {"b": 3, "c": 4}]}
    left = drop_paths(params, ["a[0]", "a[0]", "a[1]", "*[0].b", "*[*].c"])
    assert left == {"a": [3], "*": [{}, {"b": 3}]}
    assert drop_paths(params, ["*", "*[0]", "a[*]", "a[7]"]) == {"a": []}


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("a", {"b": [{"c": 1}, {"c": 2}]}),
        ("b[0]", {"a": 1, "b": [{"c": 2}]}),
        ("b[1].c", {"a": 1, "b": [{"c": 1}, {}]}),
        ("b[*].c", {"a": 1, "b": [{}, {}]}),
        ("b[*]", {"a": 1, "b": []}),
        ("missing.path[3]", {"a": 1, "b": [{"c": 1}, {"c": 2}]}),
        ("", {"a": 1, "b": [{"c": 1}, {"c": 2}]}),
    ],
)
def test_a_path_names_what_is_dropped(path: str, left: object) -> None:
    params = {"a": 1, "b": [{"c": 1}, {"c": 2}]}
    assert drop_paths(params, [path]) == left
    assert params == {"a": 1, "b": [{"c": 1}, {"c": 2}]}


@pytest.mark.parametrize("word", ["base64", "b64"])
def test_a_providers_word_for_base64_is_understood(word: str) -> None:
    target = Target(get_adapter("getimg"), Credentials(), "https://api.getimg.ai/v1")
    params = {"prompt": "a cube", "response_format": word}
    assert final_params(params, target)["response_format"] == "b64_json"
    assert params["response_format"] == word
