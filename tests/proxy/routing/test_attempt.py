"""An attempt's progress, and the capture of its response."""

from __future__ import annotations

from adapters import get_adapter
from adapters.contract import Answer, Credentials, Image, ImageCall
from proxy.routing.attempt import Attempt, ResponseCapture
from proxy.routing.plan import Target

HOST = "https://api.openai.com/v1"


def test_a_capture_keeps_chunks_without_copying() -> None:
    capture, chunk = ResponseCapture(10), b"12345"
    capture.start(200, "application/json", None)
    capture.add_chunk(chunk)
    assert capture.chunks is not None
    assert capture.chunks[0] is chunk


def test_a_response_above_the_limit_is_not_captured() -> None:
    capture = ResponseCapture(10)
    capture.start(200, "application/json", None)
    capture.add_chunk(b"123456")
    capture.add_chunk(b"123456")
    assert capture.chunks is None


def test_a_response_announced_as_too_long_is_not_captured() -> None:
    capture = ResponseCapture(10)
    capture.start(200, "application/json", 11)
    assert capture.chunks is None


def test_an_answer_built_by_the_gateway_is_captured_as_images_not_bytes() -> None:
    capture = ResponseCapture(100)
    answer = Answer((Image(b64="AAAA"), Image(data=b"12345"), Image(b64="AAAA", partial_index=0)))
    capture.add_answer(answer)
    capture.add_chunk(b"12345")
    [noted] = capture.answers
    assert [it.partial_index for it in noted.images] == [None, None]
    assert (capture.chunks, capture.size) == (None, 8)


def test_a_preview_alone_is_not_captured() -> None:
    capture = ResponseCapture(100)
    capture.add_answer(Answer((Image(b64="AAAA", partial_index=0),)))
    assert capture.answers == []


def test_images_above_the_limit_discard_the_capture() -> None:
    capture = ResponseCapture(10)
    for _ in range(3):
        capture.add_answer(Answer((Image(data=b"12345"),)))
    assert (capture.discarded, capture.answers, capture.size) == (True, [], 10)


def test_a_discarded_capture_stays_discarded() -> None:
    capture = ResponseCapture(10)
    capture.discard()
    capture.add_answer(Answer((Image(data=b"1"),)))
    assert capture.discarded


def test_progress_is_the_mean_of_all_calls() -> None:
    target = Target(get_adapter("openai"), Credentials("key-1"), HOST)
    attempt = Attempt(target, {}, None, calls=(ImageCall({}, {}), ImageCall({}, {})))
    seen = [attempt.progress]
    for call, progress in ((1, 0.5), (2, 1.0)):
        attempt.retry_state.progress[call] = progress
        seen.append(attempt.progress)
    assert seen == [None, 0.25, 0.75]
