"""An attempt's progress, and the recording of its response."""

from __future__ import annotations

from adapters import get_adapter
from adapters.contract import Answer, Credentials, Image, ImageCall
from proxy.routing.attempt import Attempt, ResponseCapture
from proxy.routing.plan import Target

HOST = "https://api.openai.com/v1"


def test_a_recording_keeps_the_chunks_themselves() -> None:
    recording, chunk = ResponseCapture(10), b"12345"
    recording.start(200, "application/json", None)
    recording.add_chunk(chunk)
    assert recording.chunks is not None
    assert recording.chunks[0] is chunk


def test_a_recording_gives_up_what_is_too_long() -> None:
    recording = ResponseCapture(10)
    recording.start(200, "application/json", None)
    recording.add_chunk(b"123456")
    recording.add_chunk(b"123456")
    assert recording.chunks is None


def test_what_is_known_to_be_too_long_is_not_begun() -> None:
    recording = ResponseCapture(10)
    recording.start(200, "application/json", 11)
    assert recording.chunks is None


def test_of_an_answer_that_was_put_together_the_pictures_are_recorded_and_no_bytes() -> None:
    recording = ResponseCapture(100)
    answer = Answer((Image(b64="AAAA"), Image(data=b"12345"), Image(b64="AAAA", partial_index=0)))
    recording.add_answer(answer)
    recording.add_chunk(b"12345")
    [noted] = recording.answers
    assert [it.partial_index for it in noted.images] == [None, None]
    assert (recording.chunks, recording.size) == (None, 8)


def test_a_preview_alone_is_not_recorded() -> None:
    recording = ResponseCapture(100)
    recording.add_answer(Answer((Image(b64="AAAA", partial_index=0),)))
    assert recording.answers == []


def test_pictures_that_are_too_much_spoil_it() -> None:
    recording = ResponseCapture(10)
    for _ in range(3):
        recording.add_answer(Answer((Image(data=b"12345"),)))
    assert (recording.discarded, recording.answers, recording.size) == (True, [], 10)


def test_what_is_spoiled_stays_so() -> None:
    recording = ResponseCapture(10)
    recording.discard()
    recording.add_answer(Answer((Image(data=b"1"),)))
    assert recording.discarded


def test_the_progress_of_an_attempt_is_that_of_all_its_calls() -> None:
    target = Target(get_adapter("openai"), Credentials("key-1"), HOST)
    attempt = Attempt(target, {}, None, calls=(ImageCall({}, {}), ImageCall({}, {})))
    seen = [attempt.progress]
    for call, progress in ((1, 0.5), (2, 1.0)):
        attempt.retry_state.progress[call] = progress
        seen.append(attempt.progress)
    assert seen == [None, 0.25, 0.75]
