"""Deepbricks: the parameters of the DALL-E years."""

from __future__ import annotations

import pytest

from adapters.providers.deepbricks import ADAPTER


def test_only_dall_e_2_makes_several_at_once() -> None:
    assert ADAPTER.table_for("dall-e-2").images_per_call == 10
    assert ADAPTER.table_for("dall-e-3").images_per_call == 1


@pytest.mark.parametrize(("asked", "sent"), [("hd", "hd"), ("max", "hd"), ("low", "standard")])
def test_later_qualities_have_counterparts(asked: str, sent: str) -> None:
    assert ADAPTER.table_for("dall-e-3").translate({"quality": asked}).fields == {"quality": sent}


def test_later_parameters_are_left_out() -> None:
    params = {"background": "opaque", "moderation": "low", "output_format": "png", "stream": True}
    assert ADAPTER.table_for("dall-e-3").translate(params).fields == {}
