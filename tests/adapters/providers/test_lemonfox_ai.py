"""Lemonfox: one model, which is not named, and few parameters."""

from __future__ import annotations

import pytest

from adapters.contract import ImageCall
from adapters.errors import Refusal
from adapters.http import ProviderReply
from adapters.providers.lemonfox_ai import ADAPTER


@pytest.mark.parametrize("model", ["", "stable-diffusion-xl", "never-heard-of-it"])
def test_no_model_is_sent_or_needed(model: str) -> None:
    assert ADAPTER.build_request(ImageCall({"model": model}, {"prompt": "a"})).json == {
        "prompt": "a"
    }


@pytest.mark.parametrize("size", ["256x256", "512x512", "1024x1024", "1792x1024"])
def test_a_size_within_the_bounds_goes_as_it_is(size: str) -> None:
    assert ADAPTER.table_for("").translate({"size": size}).fields == {"size": size}


def test_eight_images_are_made_at_once() -> None:
    assert ADAPTER.table_for("").images_per_call == 8


def test_what_it_does_not_know_is_left_out() -> None:
    params = {"quality": "hd", "style": "vivid", "background": "auto", "stream": True, "user": "u"}
    assert ADAPTER.table_for("").translate(params).fields == {}


def test_a_refusal_is_known_by_its_words_too() -> None:
    body = b'{"error": {"message": "This is against our content policy."}}'
    assert isinstance(ADAPTER.provider_error(ProviderReply(400, {}, body)), Refusal)
