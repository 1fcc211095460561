"""Krea: vendor and model in the path, what Krea 2 cannot do without, and the words for an end."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import ImageCall
from adapters.errors import BadParam
from adapters.http import ProviderReply
from adapters.providers.krea import ADAPTER


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def make_reply(wire: int = 200, **tree: Any) -> ProviderReply:
    return ProviderReply(wire, {}, orjson.dumps(tree))


@pytest.mark.parametrize("model", ["", "krea-2-large", "a/b/c", "../krea-2", "krea/..", "a/b?x"])
def test_a_model_of_another_form_is_refused_with_an_example(model: str) -> None:
    with pytest.raises(BadParam, match="krea/krea-2-medium"):
        ADAPTER.build_request(ImageCall({"model": model}, {}))


def test_krea_2_is_always_told_ratio_and_resolution() -> None:
    model = "krea/krea-2-large"
    assert translate(model) == {"aspect_ratio": "1:1", "resolution": "1K"}
    assert translate(model, aspect_ratio="9:16") == {"aspect_ratio": "9:16", "resolution": "1K"}
    assert translate(model, size="2350x1000") == {"aspect_ratio": "2.35:1", "resolution": "1K"}


@pytest.mark.parametrize(
    ("size", "width", "height"),
    [("256x256", 512, 512), ("4096x2048", 2368, 1184), ("1000x1500", 1000, 1500)],
)
def test_flux_takes_pixels(size: str, width: int, height: int) -> None:
    assert translate("bfl/flux-1-dev", size=size) == {"width": width, "height": height}


def test_other_models_are_told_a_ratio_and_no_more() -> None:
    assert translate("ideogram/ideogram-3", size="1024x1024") == {"aspect_ratio": "1:1"}
    assert translate("ideogram/ideogram-3") == {}


@pytest.mark.parametrize("status", ["queued", "backlogged", "sampling", "a new word"])
def test_any_word_that_is_no_end_is_under_way(status: str) -> None:
    assert not ADAPTER.is_finished(make_reply(status=status))


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_an_end_is_settled(status: str) -> None:
    assert ADAPTER.is_finished(make_reply(status=status))
    assert not ADAPTER.is_finished(make_reply(500, status=status))
