"""Nscale: base64 always, sizes as they are, no steps."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.providers.nscale import ADAPTER

BASE64 = {"response_format": "b64_json"}


def translate(**params: Any) -> dict[str, Any]:
    return ADAPTER.table_for("black-forest-labs/FLUX.1-schnell").translate(params, n=2).fields


@pytest.mark.parametrize("asked", ["url", "b64_json"])
def test_base64_is_asked_for_whatever_the_client_wants(asked: str) -> None:
    assert translate(response_format=asked) == translate() == BASE64


@pytest.mark.parametrize("name", ["num_inference_steps", "cfg_scale", "steps"])
def test_what_is_refused_there_is_not_sent(name: str) -> None:
    assert translate(**{name: 4}) == BASE64


@pytest.mark.parametrize(("size", "sent"), [("333x777", {"size": "333x777"}), ("auto", {})])
def test_a_size_goes_as_it_is_and_an_open_one_not_at_all(size: str, sent: dict[str, str]) -> None:
    assert translate(size=size) == BASE64 | sent


def test_several_images_are_asked_for_at_once() -> None:
    assert translate(n=2) == {"n": 2, **BASE64}
