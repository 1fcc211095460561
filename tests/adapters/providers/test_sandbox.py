"""The sandbox's side of the conversation; the images are the studio's."""

from __future__ import annotations

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall
from adapters.errors import ProviderError, Refusal
from adapters.providers.sandbox import ADAPTER
from proxy.sandbox import faults
from tests.support.transcripts import FOLDER, Transcript, load, play


def transcript(name: str) -> Transcript:
    return load(FOLDER / "sandbox" / f"{name}.json")


def answer(name: str) -> Answer:
    made = play(transcript(name))
    assert made is not None
    return made


def test_it_needs_no_key_and_sends_none() -> None:
    assert ADAPTER.missing_credentials(Credentials()) == ""
    assert ADAPTER.build_request(ImageCall({}, {})).headers == {"content-type": "application/json"}


def test_a_script_goes_through_byte_for_byte() -> None:
    params = {"prompt": "fox", "latency_ms": 5, "status": 503, "refuse": True, "cut_after": 9}
    body = orjson.dumps(params)
    assert ADAPTER.build_request(ImageCall(params, params, body=body)).content is body


def test_an_answer_is_kept_as_it_is() -> None:
    reply = transcript("success").exchanges[0].reply
    assert answer("success").body == reply.body


def test_a_scripted_refusal_is_a_refusal() -> None:
    with pytest.raises(Refusal):
        play(transcript("refusal"))


@pytest.mark.parametrize(("name", "status"), [("error", 400), ("scripted-status", 429)])
def test_an_error_keeps_its_status_and_its_words(name: str, status: int) -> None:
    with pytest.raises(ProviderError) as caught:
        play(transcript(name))
    assert caught.value.status == status
    assert caught.value.body == transcript(name).exchanges[0].reply.body


def test_what_is_told_of_its_script_is_what_the_studio_takes() -> None:
    for taken in faults.PARAMS:
        told = ADAPTER.table_for("sandbox-1").row(taken.name)
        assert told
        assert (told.kind, told.low, told.high) == (taken.kind, taken.low, taken.high)
