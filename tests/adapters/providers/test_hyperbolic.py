"""Hyperbolic: the model under another name, pixels within bounds, base64 with a seed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, ImageCall
from adapters.errors import BadParam, ProviderError
from adapters.http import ProviderReply
from adapters.providers.hyperbolic import ADAPTER


def translate(**params: Any) -> dict[str, Any]:
    return ADAPTER.table_for("SDXL1.0-base").translate(params).fields


def parse_answer(tree: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(200, {}, orjson.dumps(tree)))


def test_the_model_has_another_name_here() -> None:
    sent = ADAPTER.build_request(ImageCall({"model": "SD2"}, {"prompt": "a cube"})).json
    assert sent == {"model_name": "SD2", "prompt": "a cube"}


def test_a_call_without_a_model_is_told_of_one() -> None:
    with pytest.raises(BadParam, match=r"SDXL1\.0-base"):
        ADAPTER.build_request(ImageCall({}, {}))


@pytest.mark.parametrize(
    ("size", "width", "height"), [("32x32", 64, 64), ("4096x1024", 2048, 512), ("999x77", 999, 77)]
)
def test_a_size_is_brought_within_bounds(size: str, width: int, height: int) -> None:
    assert translate(size=size) == {"width": width, "height": height}


def test_a_image_comes_with_its_seed_if_there_is_one() -> None:
    images = parse_answer({"images": [{"image": "aGk=", "seed": 7}, {"image": "aG8="}]}).images
    assert [(it.b64, it.extra) for it in images] == [("aGk=", {"seed": 7}), ("aG8=", {})]


@pytest.mark.parametrize("tree", [{}, {"images": []}, {"images": [{"image": ""}]}, []])
def test_a_reply_without_a_image_is_an_error(tree: Any) -> None:
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer(tree)
