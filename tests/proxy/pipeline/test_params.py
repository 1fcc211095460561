"""Final parameters: defaults, overrides, drops, in this order."""

from __future__ import annotations

import pytest

from adapters import get_adapter
from adapters.contract import Credentials
from proxy.pipeline.params import drop_path, final_params
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
    if path:
        assert drop_path(params, path) == left
    assert params == {"a": 1, "b": [{"c": 1}, {"c": 2}]}
