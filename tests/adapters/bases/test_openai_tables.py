"""The tables of OpenAI's families: what people are told that a model takes."""

from __future__ import annotations

import pytest

from adapters.bases.openai_tables import build_tables
from adapters.table.param import Param
from adapters.table.table import Table


def table(model: str) -> Table:
    listed = build_tables("png", "jpeg", "webp", "gif", "svg")
    return next(table for start, table in listed if model.startswith(start))


def row(model: str, name: str) -> Param:
    found = table(model).row(name)
    assert found, f"{model} takes no {name}"
    return found


@pytest.mark.parametrize(
    ("model", "best"),
    [
        ("gpt-image-2.6-flare", "max"),
        ("gpt-image-2-2026-04-21", "high"),
        ("gpt-image-1.5", "high"),
        ("chatgpt-image-latest", "high"),
        ("dall-e-3", "hd"),
        ("dall-e-2", "standard"),
    ],
)
def test_each_family_has_its_own_words_for_quality(model: str, best: str) -> None:
    assert row(model, "quality").choices[-1] == best


def test_only_the_newest_models_draw_what_moves_and_what_scales() -> None:
    assert row("gpt-image-2.5-sunburst", "output_format").choices[-2:] == ("gif", "svg")
    assert row("gpt-image-2", "output_format").choices == ("png", "jpeg", "webp")


def test_only_dall_e_is_asked_for_a_form_of_image() -> None:
    takes = [it for it in ("gpt-image-2", "gpt-image-1", "dall-e-3") if table(it).row(_FORM)]
    assert takes == ["dall-e-3"]


def test_only_gpt_image_streams() -> None:
    assert row("gpt-image-1-mini", "partial_images")
    assert not table("dall-e-3").row("stream")


def test_the_sizes_of_gpt_image_2_are_told_in_pixels() -> None:
    row = table("gpt-image-2").row("size")
    assert row
    assert "655,360 to 8,294,400 pixels" in row.note
    # It goes as it was sent, whatever it is.
    for size in ("512x512", "3840x2160"):
        assert table("gpt-image-2").translate({"size": size}).fields == {"size": size}


_FORM = "response_format"
