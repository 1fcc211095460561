"""DeepInfra: sizes as they are, several images a call, errors of two forms."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.deepinfra import ADAPTER


def translate(**params: Any) -> dict[str, Any]:
    return ADAPTER.table_for("black-forest-labs/FLUX-2-dev").translate(params, n=3).fields


def parse_error(status: int, tree: Any) -> ProviderError:
    return ADAPTER.provider_error(ProviderReply(status, {}, orjson.dumps(tree)))


@pytest.mark.parametrize("size", ["1024x1024", "1792x1024", "333x777"])
def test_a_size_goes_as_it_is(size: str) -> None:
    assert translate(size=size) == {"size": size}


def test_an_open_size_is_left_to_the_model() -> None:
    assert translate(size="auto") == {}


def test_several_images_are_asked_for_at_once() -> None:
    assert (translate(n=3), ADAPTER.table_for("").images_per_call) == ({"n": 3}, 4)


def test_what_has_no_effect_and_what_is_refused_stay_here() -> None:
    assert translate(quality="hd", style="vivid", user="u", response_format="url") == {}


@pytest.mark.parametrize(
    "tree",
    [
        {"error": {"message": "no such size"}},
        {"detail": {"error": "no such size"}},
        {"detail": "no such size"},
        {"detail": [{"msg": "no such size"}]},
    ],
)
def test_the_sentence_is_found_in_every_form(tree: Any) -> None:
    assert parse_error(422, tree).message == "The provider answered: no such size"


@pytest.mark.parametrize("said", ["Request Moderated", "Content Moderated", "NSFW content found"])
def test_a_refusal_is_known_by_its_words(said: str) -> None:
    assert isinstance(parse_error(400, {"error": {"message": said}}), Refusal)
