"""Nebius: pixels and formats by other names, with defaults that are ours, and a project."""

from __future__ import annotations

import re
from typing import Any

import pytest

from adapters.contract import Credentials, ImageCall
from adapters.errors import BadParam
from adapters.providers.nebius import ADAPTER

MODEL = "black-forest-labs/flux-dev"


def translate(**params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(MODEL).translate(params).fields


def path(credentials: Credentials) -> str:
    return ADAPTER.build_request(ImageCall({"model": MODEL}, {}, credentials)).path


def test_a_call_that_says_nothing_makes_a_large_square_png() -> None:
    assert translate() == {"width": 1024, "height": 1024, "response_extension": "png"}
    assert translate(size="auto", output_format="gif") == translate()


@pytest.mark.parametrize(
    ("size", "width", "height"),
    [("32x32", 64, 64), ("4096x2048", 2048, 1024), ("1023x777", 1023, 777)],
)
def test_a_size_is_brought_within_bounds(size: str, width: int, height: int) -> None:
    assert translate(size=size).items() >= {"width": width, "height": height}.items()


@pytest.mark.parametrize(("asked", "sent"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
def test_a_format_goes_by_its_extension(asked: str, sent: str) -> None:
    assert translate(output_format=asked)["response_extension"] == sent


def test_a_prompt_has_a_bound_of_its_own() -> None:
    with pytest.raises(BadParam):
        translate(prompt="x" * 2001)


def test_a_call_makes_one_image() -> None:
    assert (ADAPTER.table_for(MODEL).images_per_call, "n" in translate(n=1)) == (1, False)


def test_a_project_stands_in_the_query() -> None:
    assert path(Credentials("k")) == "/images/generations"
    named = Credentials("k", {"nebius_ai_project_id": "p-1"})
    assert path(named) == "/images/generations?ai_project_id=p-1"


@pytest.mark.parametrize("project", ["", "a&b=c", "a#", "a/b", "a b", "ä", "a" * 129])
def test_a_project_cannot_leave_its_place(project: str) -> None:
    assert not re.fullmatch(ADAPTER.options[0].pattern, project)
