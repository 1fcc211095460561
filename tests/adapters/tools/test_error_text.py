"""The provider's own reason is found in every shape of error, bounded, and never in image data."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import PROVIDERS, get_adapter
from adapters.errors import MESSAGE_LIMIT, find_error_message
from adapters.http import ProviderReply
from adapters.tools.error_text import describe, describe_body

REASON = "the width is too large"
SHAPES: tuple[Any, ...] = (
    {"detail": [{"loc": ["body", "width"], "msg": REASON, "type": "value_error"}]},
    {"errors": {"prompt": [REASON]}},
    {"errors": {"prompt": REASON}},
    {"errors": [{"detail": REASON}]},
    {"errors": [{"message": REASON}]},
    {"errors": [REASON]},
    {"message": [REASON]},
    {"message": [{"property": "width", "msg": REASON}]},
    {"message": REASON},
    {"statusCode": 400, "error": "Bad Request", "message": [REASON]},
    {"error": "invalid_request", "error_description": REASON},
    {"error": {"error": {"message": REASON}}},
    {"error": {"message": {"text": REASON}}},
    {"error": {"message": [REASON]}},
    {"error": {"details": REASON}},
    {"error": REASON},
    {"error": [REASON]},
    {"msg": REASON},
    {"code": 7, "msg": REASON, "data": None},
    {"title": "Bad Request", "detail": REASON, "status": 400, "type": "about:blank"},
    {"title": REASON, "type": "about:blank"},
    {"detail": REASON},
    {"detail": {"width": [REASON]}},
    {"detail": {"message": REASON}},
    {"error_message": REASON},
    {"description": REASON},
    [{"error": {"message": REASON}}],
    [REASON],
    REASON,
)
TEXTS: tuple[tuple[bytes, str], ...] = (
    (REASON.encode(), REASON),
    (b"\xef\xbb\xbf " + REASON.encode() + b"\r\n", REASON),
    (b"<!DOCTYPE html>\n<html><head><title>413 Too\nLarge</title></head></html>", "413 Too Large"),
    (b"<html><body><h1>No room &amp; no time</h1></body></html>", "No room & no time"),
    (b"<?xml version='1.0'?><Error><Code>X</Code><Message>no key</Message></Error>", "no key"),
    (b"<a:Error><a:Title>t</a:Title><a:Message>no key</a:Message></a:Error>", "no key"),
    (b'{"message": "cut of', '{"message": "cut of'),
)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_adapter_tells_the_reason_in_every_shape(provider: str) -> None:
    adapter = get_adapter(provider)
    for status in (400, 422, 500):
        for shape in SHAPES:
            reply = ProviderReply(status, {}, orjson.dumps(shape))
            assert REASON in adapter.provider_error(reply).message, (status, shape)
        for body, words in TEXTS:
            assert words in adapter.provider_error(ProviderReply(status, {}, body)).message, body


def test_an_error_that_is_a_name_is_told_with_its_explanation() -> None:
    for tree, words in (
        ({"error": "Bad Request", "message": ["no", "never"]}, "Bad Request: no; never"),
        ({"error": "no room", "message": "no room"}, "no room"),
        ({"error": "no room"}, "no room"),
        (
            {"error": "HTTPException", "detail": "Sampler not found"},
            "HTTPException: Sampler not found",
        ),
    ):
        assert find_error_message(ProviderReply(400, {}, orjson.dumps(tree))) == words, tree


def test_bytes_and_pages_without_words_have_none() -> None:
    for body in (
        *(b"", b" \n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"a\0b", b"<html></html>", b"<", b"null"),
        *(b"<title></title>", b"<svg xmlns='x'><path/></svg>", b"\x1b[31mred", b"RIFF\x01\x02\x03"),
    ):
        assert describe_body(body) == "", body


def test_text_of_a_success_is_no_error() -> None:
    for body in (b"<html><title>hello</title></html>", b"hello", b'"hello"'):
        assert find_error_message(ProviderReply(200, {}, body)) == "", body


def test_words_are_bounded() -> None:
    deep: Any = REASON
    for _ in range(100):
        deep = {"error": deep}
    wide = {"errors": {f"field{number}": ["x" * 1000] * 100 for number in range(10_000)}}
    for tree in (deep, wide, {"message": ["x" * 100_000]}, {"detail": [{"msg": "x"}] * 10_000}):
        assert len(describe(tree)) <= MESSAGE_LIMIT
    assert describe(deep) == ""
    for body in (b"x" * 1_000_000, b"<title>" * 100_000, b"<" * 100_000, b"<title " * 10_000):
        assert len(describe_body(body)) <= MESSAGE_LIMIT


@given(st.binary(max_size=300))
def test_no_body_raises(noise: bytes) -> None:
    for body in (noise, b"<" + noise, b"<title>" + noise + b"</title>"):
        assert describe_body(body).isprintable()
