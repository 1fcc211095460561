"""Images and how they ended: which are kept, and what it means when none is."""

from __future__ import annotations

import pytest

from adapters.bases.stability_style import Outcome, answer_from, image_from_bytes, image_from_json
from adapters.contract import Answer, Image
from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply

GOOD = Image(b64="aGk=")


def answer_for(*outcomes: str, image: Image = GOOD) -> Answer:
    return answer_from([(outcome, image) for outcome in outcomes], ProviderReply())


def bytes_outcome(headers: dict[str, str]) -> Outcome:
    outcome = image_from_bytes(ProviderReply(200, headers, b"png"))
    assert outcome
    return outcome


def test_bytes_that_are_no_image_have_no_outcome() -> None:
    assert image_from_bytes(ProviderReply(200, {"content-type": "text/html"}, b"<html>")) is None
    assert image_from_bytes(ProviderReply(200, {"content-type": "image/png"})) is None


def test_a_image_in_bytes_ends_in_headers() -> None:
    headers = {"content-type": "image/png", "finish-reason": "SUCCESS", "seed": "7"}
    outcome, image = bytes_outcome(headers)
    assert (outcome, image.data, image.media_type) == ("SUCCESS", b"png", "image/png")
    assert image.extra == {"seed": 7}


@pytest.mark.parametrize("seed", ["", "odd", "\u0661", "9" * 5000])
def test_a_seed_that_is_no_number_in_reason_is_left_out(seed: str) -> None:
    assert bytes_outcome({"content-type": "image/png", "seed": seed})[1].extra == {}


def test_a_image_in_json_ends_in_its_entry() -> None:
    outcome, image = image_from_json({"base64": "aGk=", "finishReason": "SUCCESS", "seed": 0})
    assert (outcome, image.b64, image.extra) == ("SUCCESS", "aGk=", {"seed": 0})
    assert image_from_json({"base64": ["x"]}, "aGk=") == ("", GOOD)


def test_the_images_that_ended_well_are_kept_when_others_did_not() -> None:
    assert len(answer_for("CONTENT_FILTERED", "SUCCESS", "ERROR", "", "Ready").images) == 3


@pytest.mark.parametrize("outcome", ["CONTENT_FILTERED", "Request Moderated", "Content Moderated"])
def test_a_filtered_image_is_a_refusal(outcome: str) -> None:
    with pytest.raises(Refusal, match=outcome):
        answer_for("ERROR", outcome)


def test_any_other_end_is_the_providers_failure() -> None:
    with pytest.raises(ProviderError, match="ERROR") as caught:
        answer_for("ERROR")
    assert (caught.value.status, isinstance(caught.value, Refusal)) == (502, False)


def test_an_empty_image_is_none() -> None:
    with pytest.raises(ProviderError, match="without an image"):
        answer_for("SUCCESS", image=Image())
    with pytest.raises(ProviderError, match="without an image"):
        answer_for()
