"""Providers that speak the client's shape: what goes through untouched, and what is read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.bases.openai_passthrough import OpenAIPassthrough
from adapters.contract import Answer, ImageCall
from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply, ProviderRequest

BODY = {"model": "m", "prompt": "a cube", "response_format": "b64_json", "x-new": [1]}


class Plain(OpenAIPassthrough):
    """Withholds nothing."""


class Base64Only(OpenAIPassthrough):
    """Refuses `response_format`."""

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        del call
        return frozenset({"response_format"})


def requested(
    adapter: OpenAIPassthrough, body: bytes | None = None, **params: Any
) -> ProviderRequest:
    fields = {**BODY, **params}
    return adapter.build_request(ImageCall(fields, fields, body=body))


def parse_answer(tree: Any, status: int = 200) -> Answer:
    reply = ProviderReply(status, {"content-type": "application/json"}, orjson.dumps(tree))
    return Plain().parse_answer(ImageCall(BODY, BODY), reply)


def parse_error(status: int, tree: Any) -> ProviderError:
    return Plain().provider_error(ProviderReply(status, {}, orjson.dumps(tree)))


# What goes out


def test_the_clients_own_bytes_are_sent_while_they_say_what_is_meant() -> None:
    assert requested(Plain(), b'{"model" : "m"}').content == b'{"model" : "m"}'


def test_every_parameter_goes_out_known_or_not() -> None:
    assert orjson.loads(requested(Plain()).content or b"") == BODY


def test_what_is_withheld_does_not_go_out() -> None:
    sent = orjson.loads(requested(Base64Only(), orjson.dumps(BODY)).content or b"")
    assert sent == {k: v for k, v in BODY.items() if k != "response_format"}


def test_it_is_json_to_the_usual_path() -> None:
    request = requested(Plain())
    assert (request.method, request.path) == ("POST", "/images/generations")
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("adapter", "params", "verbatim"),
    [
        (Plain(), {}, True),
        (Plain(), {"response_format": "url"}, True),
        (Base64Only(), {}, True),
        (Base64Only(), {"response_format": "url"}, False),
        (Base64Only(), {"response_format": "url", "stream": True}, True),
    ],
)
def test_a_reply_is_read_only_where_its_images_must_change_form(
    adapter: OpenAIPassthrough, params: dict[str, Any], *, verbatim: bool
) -> None:
    assert requested(adapter, **params).verbatim is verbatim


def test_no_row_stands_in_the_table() -> None:
    assert Plain().table_for("any").rows == ()


# What comes back


def test_an_answer_keeps_the_providers_bytes() -> None:
    assert parse_answer({"created": 1, "data": [{"b64_json": "aGk="}]}).body == (
        b'{"created":1,"data":[{"b64_json":"aGk="}]}'
    )


def test_the_bytes_are_not_held_beside_base64_that_is_to_go_behind_a_url() -> None:
    asked = {**BODY, "response_format": "url"}
    for entry, kept in (({"b64_json": "AAAA"}, False), ({"url": "https://a.test"}, True)):
        reply = ProviderReply(body=orjson.dumps({"data": [entry]}))
        assert bool(Plain().parse_answer(ImageCall(asked, asked), reply).body) is kept


def test_images_are_read_in_every_form() -> None:
    entries = [{"b64_json": "aGk=", "url": None}, {"url": "https://a.test/1"}]
    first, second, third = parse_answer(
        {"data": [*entries, {"url": "data:image/png;base64,aGk="}]}
    ).images
    assert (first.b64, second.url, third.b64) == ("aGk=", "https://a.test/1", "aGk=")


def test_what_stands_beside_a_image_stays_with_it() -> None:
    entry = {"url": "https://a.test/1", "revised_prompt": "a blue cube", "seed": 7, "note": None}
    (image,) = parse_answer({"data": [entry]}).images
    assert image.extra == {"revised_prompt": "a blue cube", "seed": 7}


def test_what_stands_beside_the_images_stays_too() -> None:
    tree = {"created": 1, "data": [{"b64_json": "aGk="}], "usage": {"total_tokens": 3}, "size": "s"}
    answer = parse_answer(tree)
    assert (answer.usage, answer.extra) == ({"total_tokens": 3}, {"size": "s"})


def test_an_entry_without_a_image_is_passed_over() -> None:
    entries = [{"b64_json": ""}, {}, "odd", None, {"b64_json": "aGk="}]
    assert len(parse_answer({"data": entries}).images) == 1


@pytest.mark.parametrize("tree", [{"data": []}, {"data": None}, {}, [], "odd", None])
def test_no_image_is_an_error(tree: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_answer(tree)
    assert caught.value.code == "no_picture"


def test_an_error_with_a_success_status_is_an_error() -> None:
    with pytest.raises(ProviderError, match="too wide"):
        parse_answer({"error": {"message": "too wide", "type": "server_error"}})


# What went wrong


def test_an_error_in_openais_shape_is_kept_bytes_and_status() -> None:
    tree = {"error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": "x"}}
    error = parse_error(409, tree)
    assert (error.status, error.body) == (409, orjson.dumps(tree))
    assert (error.param, error.code) == ("n", "x")


@pytest.mark.parametrize("tree", [{"error": "no"}, {"detail": "no"}, {"error": {"message": "no"}}])
def test_an_error_in_another_shape_is_made_into_ours(tree: Any) -> None:
    error = parse_error(422, tree)
    assert (error.status, error.body) == (400, None)
    assert error.message.endswith("no")


@pytest.mark.parametrize(
    "told",
    [
        {"code": "moderation_blocked"},
        {"code": "content_policy_violation"},
        {"code": "contentFilter"},
        {"innererror": {"code": "content_filter"}},
    ],
)
def test_a_refusal_is_known_by_its_code(told: dict[str, Any]) -> None:
    error = parse_error(400, {"error": {"message": "unsafe", "type": "any", **told}})
    assert isinstance(error, Refusal)
    assert error.body is not None


@pytest.mark.parametrize("count", [14417.92, 14418.0])
def test_fractional_counts_reach_the_client_as_integers(count: float) -> None:
    image = {"b64_json": "aGk="}
    made = parse_answer({"data": [image], "usage": {"total_tokens": count}})
    assert (repr(made.usage), made.body) == ("{'total_tokens': 14418}", None)
    whole = parse_answer({"data": [image], "usage": {"total_tokens": 7, "cost": 0.5}})
    assert whole.body is not None


def test_an_empty_error_does_not_reach_the_client() -> None:
    made = parse_answer({"data": [{"b64_json": "aGk="}], "error": {"message": "", "code": None}})
    assert (len(made.images), made.body, made.extra) == (1, None, {})


def test_a_long_error_keeps_its_type_code_and_param() -> None:
    for code, param in (("size_limit", "size"), (None, None)):
        error = {"message": "no " * 40_000, "type": "image_error", "code": code, "param": param}
        made = parse_error(429, {"error": error})
        assert made.body is None
        assert (made.status, made.type, made.code, made.param) == (429, "image_error", code, param)
    long = {"message": "no", "type": "t" * 70_000, "code": "c" * 70_000, "param": "p" * 70_000}
    bounded = parse_error(400, {"error": long})
    assert {len(it or "") for it in (bounded.type, bounded.code, bounded.param)} == {200}
