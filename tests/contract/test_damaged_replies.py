"""A success whose image can be read is delivered, whatever else is wrong with the replies."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from adapters import PROVIDERS, get_adapter
from adapters.bases.polling import PollingAdapter
from adapters.contract import Answer
from adapters.errors import ProviderError
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.image_header import detect_media_type
from tests.support.transcripts import Transcript, conversation, naming, shown, transcripts_of

Damage = Callable[[ProviderReply], ProviderReply]


def with_body(reply: ProviderReply, body: bytes, **headers: str) -> ProviderReply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ProviderReply(reply.status, {**reply.headers, **named}, body)


def with_member(text: bytes) -> Damage:
    """Return the damage of one more member in an object."""

    def damage(reply: ProviderReply) -> ProviderReply:
        tree = reply.json()
        if not isinstance(tree, dict):
            return reply
        return with_body(reply, reply.body.rstrip()[:-1] + (b"," if tree else b"") + text + b"}")

    return damage


def without_type(reply: ProviderReply) -> ProviderReply:
    others = {name: it for name, it in reply.headers.items() if name != "content-type"}
    return ProviderReply(reply.status, others, reply.body)


def with_image_type(media_type: str) -> Damage:
    """Return the damage of another content type for images."""

    def damage(reply: ProviderReply) -> ProviderReply:
        is_image = bool(detect_media_type(reply.body))
        return with_body(reply, reply.body, content_type=media_type) if is_image else reply

    return damage


def with_bom(reply: ProviderReply) -> ProviderReply:
    return with_body(reply, codecs.BOM_UTF8 + reply.body) if reply.json() is not None else reply


def with_blanks(reply: ProviderReply) -> ProviderReply:
    return with_body(reply, b"\r\n " + reply.body + b"\n\n") if reply.json() is not None else reply


DAMAGES: dict[str, Damage] = {
    "byte order mark": with_bom,
    "blanks": with_blanks,
    "NaN": with_member(b'"is_changed": [NaN]'),
    "Infinity": with_member(b'"took": -Infinity'),
    "half a surrogate pair": with_member(b'"words": "a cube \\ud83d"'),
    "bad UTF-8": with_member(b'"words": "a cube \xff"'),
    "unknown member": with_member(b'"x_new": {"status": {"error": []}}'),
    "octet-stream": lambda it: with_body(it, it.body, content_type="application/octet-stream"),
    "text/plain": lambda it: with_body(it, it.body, content_type="text/plain; charset=utf-8"),
    "no content type": without_type,
}
EMPTY_ERRORS = (
    *(b"{}", b"null", b'""', b"[]", b"false", b"0", b'{"message": null}', b'{"code": 0}', b'"  "'),
    b'{"message":"","type":"","param":"","code":null}',
)


def play_damaged(transcript: Transcript, damage: Damage) -> Answer | None:
    flow, replies = conversation(transcript), iter(transcript.exchanges)
    try:
        next(flow)
        while True:
            flow.send(damage(next(replies).reply.received()))
    except StopIteration as end:
        answer: Answer | None = end.value
        return answer


def in_images(transcript: Transcript) -> bool:
    """Whether the replies are JSON or images: a stream of events is recognised by its type."""
    return all(it.reply.sse is None for it in transcript.exchanges)


def answered(transcript: Transcript) -> Any:
    answer = play_damaged(transcript, lambda it: it)
    return answer and shown(answer)["data"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_damage_around_the_image_does_not_lose_it(provider: str) -> None:
    for transcript in transcripts_of(provider):
        if transcript.kind != "success" or not in_images(transcript):
            continue
        for name, damage in DAMAGES.items():
            with naming(transcript):
                answer = play_damaged(transcript, damage)
                assert answer, name
                assert shown(answer)["data"] == answered(transcript), name


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_error_that_says_nothing_is_none(provider: str) -> None:
    for transcript in transcripts_of(provider):
        if transcript.kind != "success" or not in_images(transcript):
            continue
        for error in EMPTY_ERRORS:
            with naming(transcript):
                answer = play_damaged(transcript, with_member(b'"error": ' + error))
                assert answer, error
                assert shown(answer)["data"] == answered(transcript), error


def test_an_error_with_a_reason_in_a_success_stays_one() -> None:
    failed = with_member(b'"error": {"message": "out of stock", "code": null}')
    passthrough = [it for it in PROVIDERS if get_adapter(it).passthrough]
    assert {"openai", "azure-openai"} < {*passthrough}
    for provider in passthrough:
        for transcript in transcripts_of(provider):
            if transcript.kind != "success" or not in_images(transcript):
                continue
            with naming(transcript), pytest.raises(ProviderError, match="out of stock"):
                play_damaged(transcript, failed)


def test_image_bytes_are_recognised_whatever_their_type() -> None:
    seen = set[str]()
    types = ("application/octet-stream", "text/plain", "text/html", "application/json", "?", "")
    for provider in PROVIDERS:
        for transcript in transcripts_of(provider):
            last = transcript.exchanges[-1].reply.received() if transcript.exchanges else None
            if transcript.kind != "success" or not last or not detect_media_type(last.body):
                continue
            seen.add(provider)
            for media_type in types:
                with naming(transcript):
                    answer = play_damaged(transcript, with_image_type(media_type))
                    assert answer, media_type
                    found = {it.media_type for it in answer.images}
                    assert found == {detect_media_type(last.body)}, media_type
    assert seen == {
        *("comfyui", "fireworks-ai", "huggingface", "invokeai"),
        *("prodia", "segmind", "stability-ai", "workers-ai"),
    }


PAGE = ProviderReply(200, {"content-type": "text/html"}, b"<html><title>Sign in</title></html>")


def polling_transcripts() -> Iterator[Transcript]:
    for provider in PROVIDERS:
        for transcript in transcripts_of(provider):
            if any(it.request.wait for it in transcript.exchanges):
                yield transcript


def play_with_pages(transcript: Transcript, pages: list[ProviderRequest]) -> None:
    """Reply to every poll with a page."""
    flow, exchanges = conversation(transcript), iter(transcript.exchanges)
    request = next(flow)
    while True:
        if request.delay:
            pages.append(request)
            request = flow.send(PAGE)
        else:
            request = flow.send(next(exchanges).reply.received())


def test_a_page_in_place_of_a_jobs_status_ends_the_conversation() -> None:
    for transcript in polling_transcripts():
        pages: list[ProviderRequest] = []
        with naming(transcript), pytest.raises(ProviderError) as caught:
            play_with_pages(transcript, pages)
        assert (len(pages), caught.value.status) == (3, 502), transcript.place
        assert caught.value.code == "unreadable_status", transcript.place


def test_a_page_now_and_then_is_forgiven() -> None:
    for transcript in polling_transcripts():
        if transcript.kind != "success":
            continue
        with naming(transcript):
            flow, answer = conversation(transcript), None
            request = next(flow)
            try:
                for exchange in transcript.exchanges:
                    for _ in range(2 if request.delay else 0):
                        assert flow.send(PAGE) == request
                    request = flow.send(exchange.reply.received())
            except StopIteration as end:
                answer = end.value
            assert answer
            assert shown(answer)["data"] == answered(transcript)


def test_a_state_that_an_adapter_does_not_know_is_still_running() -> None:
    adapters = [get_adapter(it) for it in PROVIDERS]
    polled = [it for it in adapters if isinstance(it, PollingAdapter)]
    assert len(polled) > 10
    for adapter in polled:
        final = {adapter.success_state, *adapter.failed_states}
        for state in ("a new state", *final):
            tree: Any = state
            for name in reversed(adapter.state_path):
                tree = {name: tree}
            reply = ProviderReply(200, {}, orjson.dumps(tree))
            assert adapter.is_finished(reply) is (state in final), (adapter.id, state)
            assert adapter.is_readable(reply), (adapter.id, state)
        assert adapter.failed_states or adapter.id == "fal-ai"
