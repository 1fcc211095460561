"""Asking again: how often, how long, and what ends it."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import orjson
import pytest

from adapters.bases.polling import PollingAdapter, fetch_images, poll
from adapters.contract import Adapter, Answer, Image, ImageCall
from adapters.errors import FlowCancelled, ProviderError
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import dig_str

QUESTION = ProviderRequest(url="https://api.test/jobs/1", method="GET")
WORKING, DONE = ProviderReply(200, {}, b'"working"'), ProviderReply(200, {}, b'"done"')


class Patient(Adapter):
    """Polls and does nothing else."""


def build_request(
    *replies: ProviderReply, interval: float = 0.5, limit: float = 600.0
) -> tuple[ProviderReply, list[ProviderRequest]]:
    """Poll against replies, the last for ever; give the settled one, and the questions."""
    flow = poll(Patient(), QUESTION, lambda it: it is DONE, interval=interval, timeout=limit)
    questions = [next(flow)]
    for reply in (*replies, *repeat(replies[-1], 10_000)):
        try:
            questions.append(flow.send(reply))
        except StopIteration as end:
            settled: ProviderReply = end.value
            return settled, questions
    raise AssertionError("polls for ever")


def test_the_settled_reply_ends_it() -> None:
    settled, questions = build_request(WORKING, WORKING, DONE)
    assert settled is DONE
    assert len(questions) == 3


def test_every_question_waits_and_is_otherwise_the_one_given() -> None:
    _, questions = build_request(WORKING, DONE, interval=2.0)
    assert {(it.delay, it.url, it.method) for it in questions} == {(2.0, QUESTION.url, "GET")}


def test_the_question_given_is_left_as_it_was() -> None:
    build_request(DONE)
    assert QUESTION.delay == 0.0


def test_an_error_status_ends_it() -> None:
    with pytest.raises(ProviderError) as caught:
        build_request(WORKING, ProviderReply(401))
    assert caught.value.code == "invalid_api_key"


def test_a_job_that_is_gone_is_no_missing_model() -> None:
    with pytest.raises(ProviderError, match="no job 7") as caught:
        build_request(WORKING, ProviderReply(404, {}, b'{"detail": "no job 7"}'))
    assert (caught.value.status, caught.value.code) == (502, None)


def test_an_error_status_can_be_a_settled_reply() -> None:
    lost = ProviderReply(404)
    flow = poll(Patient(), QUESTION, lambda it: it.status == 404)
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(lost)
    assert end.value.value is lost


def test_it_gives_up_after_the_limit() -> None:
    with pytest.raises(ProviderError) as caught:
        build_request(WORKING, limit=3.0)
    assert (caught.value.status, caught.value.code) == (504, "timeout")
    assert "3 seconds" in caught.value.message


PAGE = ProviderReply(200, {"content-type": "text/html"}, b"<title>Sign in</title>")


def test_replies_that_cannot_be_read_end_it() -> None:
    for page in (
        PAGE,
        ProviderReply(200),
        ProviderReply(202, {}, b"ok"),
        ProviderReply(200, {}, b"null"),
    ):
        with pytest.raises(ProviderError, match="3 replies in a row") as caught:
            build_request(WORKING, page)
        assert (caught.value.status, caught.value.code) == (502, "unreadable_status")
    with pytest.raises(ProviderError, match=r"200, text/html, Sign in"):
        build_request(PAGE)


def test_a_few_replies_that_cannot_be_read_are_forgiven() -> None:
    settled, questions = build_request(PAGE, PAGE, WORKING, PAGE, PAGE, WORKING, PAGE, DONE)
    assert (settled, len(questions)) == (DONE, 8)


class Queue(PollingAdapter):
    """A provider with a queue."""

    success_state, failed_states = "done", frozenset({"broken"})
    poll_interval = 2.0

    def build_request(self, call: ImageCall) -> ProviderRequest:
        return ProviderRequest("/jobs", json=call.fields)

    def build_poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        del call
        place = dig_str(reply.json(), "id")
        return ProviderRequest(f"/jobs/{place}", method="GET") if place else None

    def build_cancel_request(self, call: ImageCall, submitted: ProviderReply) -> ProviderRequest:
        del call
        return ProviderRequest(f"/jobs/{dig_str(submitted.json(), 'id')}/cancel")

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        del call
        return Answer((Image(url=dig_str(reply.json(), "url")),))


def make_reply(**tree: Any) -> ProviderReply:
    return ProviderReply(200, {}, orjson.dumps(tree))


def test_a_job_is_asked_about_until_it_is_settled() -> None:
    flow = Queue().flow(ImageCall({}, {}))
    assert next(flow).path == "/jobs"
    question = flow.send(make_reply(id="7", status="queued"))
    assert (question.path, question.delay) == ("/jobs/7", 2.0)
    for state in ("queued", "a new state", "DONE"):
        assert flow.send(make_reply(status=state)) == question, state
    with pytest.raises(StopIteration) as done:
        flow.send(make_reply(status="done", url="https://a.test"))
    assert done.value.value.images[0].url == "https://a.test"


def test_a_reply_without_a_state_is_the_last_if_it_comes_again_or_is_an_error() -> None:
    for tree, polls in (
        ({"url": "https://a.test"}, 3),
        ({"status": None}, 3),
        ({"error": "no"}, 1),
    ):
        flow = Queue().flow(ImageCall({}, {}))
        next(flow)
        flow.send(make_reply(id="7", status="queued"))
        for _ in range(polls - 1):
            flow.send(make_reply(**tree))
        with pytest.raises(StopIteration):
            flow.send(make_reply(**tree))


def test_a_state_may_be_a_number() -> None:
    assert Queue().parse_state(make_reply(status=4)) == "4"
    others: tuple[Any, ...] = (True, None, {}, 0.5)
    assert {Queue().parse_state(make_reply(status=other)) for other in others} == {""}


def test_a_job_that_is_settled_at_once_is_asked_nothing() -> None:
    flow = Queue().flow(ImageCall({}, {}))
    next(flow)
    with pytest.raises(StopIteration):
        flow.send(make_reply(url="https://a.test"))


def test_a_job_that_is_abandoned_is_cancelled_by_the_name_it_was_given() -> None:
    flow = Queue().flow(ImageCall({}, {}))
    next(flow)
    flow.send(make_reply(id="7", status="queued"))
    flow.send(make_reply(status="queued"))
    assert flow.throw(FlowCancelled()).path == "/jobs/7/cancel"
    with pytest.raises(FlowCancelled):
        flow.send(make_reply())


def test_what_has_not_been_submitted_yet_is_not_cancelled() -> None:
    flow = Queue().flow(ImageCall({}, {}))
    next(flow)
    with pytest.raises(FlowCancelled):
        flow.throw(FlowCancelled())


def test_a_job_that_cannot_be_cancelled_is_left_alone() -> None:
    flow = Declared().flow(ImageCall({}, {}))
    next(flow)
    flow.send(make_reply(job={"id": "7"}))
    with pytest.raises(FlowCancelled):
        flow.throw(FlowCancelled())


class Declared(PollingAdapter):
    """A provider whose jobs are described by words alone."""

    id_path, poll_path = ("job", "id"), "/jobs/{}/state"
    success_state, images_path = "done", ("result", "urls")

    def build_request(self, call: ImageCall) -> ProviderRequest:
        return ProviderRequest("/jobs", json=call.fields)


class Percent(Declared):
    """A provider that tells how far its jobs are."""

    progress_path, progress_max = ("job", "percent"), 100.0


@pytest.mark.parametrize(
    ("told", "progress"),
    [(0, 0.0), (40, 0.4), (120.5, 1.0), (-1, 0.0), (None, None), ("40", None), (True, None)],
)
def test_progress_is_told_as_a_part_of_one(told: Any, progress: float | None) -> None:
    assert Percent().parse_progress(make_reply(job={"percent": told})) == progress
    assert Declared().parse_progress(make_reply(job={"percent": told})) is None


def parse_answer(**tree: Any) -> Answer:
    return Declared().parse_answer(ImageCall({}, {}), make_reply(**tree))


def test_the_question_is_made_of_the_jobs_name() -> None:
    question = Declared().build_poll_request(ImageCall({}, {}), make_reply(job={"id": "a/7"}))
    assert question
    assert (question.method, question.path) == ("GET", "/jobs/a%2F7/state")


@pytest.mark.parametrize("job", [None, {}, {"id": 7}, {"id": ""}, {"id": ".."}])
def test_a_reply_that_names_no_job_is_an_error(job: Any) -> None:
    with pytest.raises(ProviderError, match="without an image"):
        Declared().build_poll_request(ImageCall({}, {}), make_reply(job=job))


def test_a_reply_that_names_no_job_may_say_why() -> None:
    with pytest.raises(ProviderError, match="too many jobs"):
        Declared().build_poll_request(ImageCall({}, {}), make_reply(message="too many jobs"))


@pytest.mark.parametrize(
    "urls", ["https://a.test", ["https://a.test"], [7, None, "https://a.test"]]
)
def test_the_images_are_one_url_or_a_list_of_them(urls: Any) -> None:
    assert [it.url for it in parse_answer(status="done", result={"urls": urls}).images] == [
        "https://a.test"
    ]


@pytest.mark.parametrize("result", [None, {}, {"urls": []}, {"urls": {}}, {"urls": 7}])
def test_a_finished_job_without_a_image_is_an_error(result: Any) -> None:
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer(status="done", result=result)


def test_any_other_end_is_an_error_in_the_providers_words() -> None:
    with pytest.raises(ProviderError, match="out of memory") as caught:
        parse_answer(status="broken", error="out of memory", result={"urls": ["https://a.test"]})
    assert caught.value.status == 502


def test_a_state_is_all_that_some_ends_say() -> None:
    with pytest.raises(ProviderError, match="answered: expired"):
        parse_answer(status="expired")


def test_images_are_fetched_one_by_one_and_keep_what_is_said_of_them() -> None:
    flow = fetch_images(Patient(), ["/a", "/b"], seed=7)
    asked = [next(flow).path, flow.send(ProviderReply(200, {"content-type": "image/png"}, b"1"))]
    assert asked[0] == "/a"
    with pytest.raises(StopIteration) as end:
        flow.send(ProviderReply(200, {"content-type": "image/webp"}, b"2"))
    assert [(it.data, it.media_type, it.extra) for it in end.value.value] == [
        (b"1", "image/png", {"seed": 7}),
        (b"2", "image/webp", {"seed": 7}),
    ]


@pytest.mark.parametrize(("media_type", "body"), [("text/html", b"<html>"), ("image/png", b"")])
def test_what_was_fetched_must_be_a_image(media_type: str, body: bytes) -> None:
    flow = fetch_images(Patient(), ["/a"])
    next(flow)
    with pytest.raises(ProviderError, match="without an image"):
        flow.send(ProviderReply(200, {"content-type": media_type}, body))
