"""JSON with the faults that providers make is read; anything else that is not JSON is an error."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http import ProviderReply
from adapters.tools import lenient_json
from adapters.tools.json_access import parse_json
from adapters.tools.lenient_json import read_json
from adapters.tools.sse import Event

BOM = codecs.BOM_UTF8
REPAIRED: dict[bytes, Any] = {
    BOM + b'{"a": 1}': {"a": 1},
    BOM + b' \n[{"a": "b"}]': [{"a": "b"}],
    b'{"is_changed": [NaN]}': {"is_changed": [None]},
    b'{"a": Infinity, "b":-Infinity, "c": [ NaN , 1]}': {"a": None, "b": None, "c": [None, 1]},
    b'["NaN, \\"Infinity\\" -Infinity", NaN, "NaN"]': ['NaN, "Infinity" -Infinity', None, "NaN"],
    rb'{"prompt": "a cube \ud83d"}': {"prompt": "a cube \ufffd"},
    rb'["\uDE00 low", "\ud83d\ud83d\ude00", "\ud83d\n"]': [
        "\ufffd low",
        "\ufffd\U0001f600",
        "\ufffd\n",
    ],
    rb'["\\ud83d", "\ud83d\ude00", "\ud83d"]': ["\\ud83d", "\U0001f600", "\ufffd"],
    b'{"words": "a \xff cube"}': {"words": "a \ufffd cube"},
    b'{"cut": "a \xf0\x9f\x98"}': {"cut": "a \ufffd"},
    BOM + b'{"a": NaN, "b": "\\ud83d", "c": "\xff"}': {"a": None, "b": "\ufffd", "c": "\ufffd"},
}
NOT_JSON = (
    *(b"", BOM, b"NaN", b"[DONE]", b"<html>NaN</html>", b'"\xff"', b"\x89PNG\r\n\x1a\nNaN"),
    *(b'{"a": NaN', b'{"a": "\\ud83d', b'{"data": [{"b64_json": "iVBO', BOM + b'{"a": 1'),
    *(b'{"a": NaN} x', b'{"a": NaN}{}', BOM + b"{} {}", b"[1]\xff", BOM + BOM + b"{}"),
    *(b"{'a': NaN}", b'{"a": NaN} // words', b'{"a": /* words */ NaN}', b'{"a": NaN,}', b"[,NaN]"),
    *(b"[nan]", b"[-NaN]", b"[+Infinity]", b"[NaNs]", b"[1NaN]", b"[- Infinity]", b"[inf]"),
    *(b'["\\ud8"]', b'["\\uZZZZ"]', b'["\\x"]', b"[\xff]", b'{"a\xff: 1}', b"[undefined]"),
)


def test_faults_that_providers_make_are_repaired() -> None:
    for body, tree in REPAIRED.items():
        found, text = read_json(body)
        assert found == tree, body
        assert orjson.loads(text) == tree, body
        assert ProviderReply(body=body).json() == tree, body
        assert Event("", body).json() == tree, body


def test_what_is_no_json_stays_an_error() -> None:
    for body in NOT_JSON:
        assert read_json(body) == (None, body), body


def test_a_repaired_reply_has_a_body_that_any_parser_reads() -> None:
    reply = ProviderReply(body=BOM + b'{"a": NaN}')
    reply.json()
    assert reply.body == b'{"a": null}'
    whole = ProviderReply(body=b'{"a":  1}')
    whole.json()
    assert whole.body == b'{"a":  1}'


def test_json_inside_of_a_text_is_repaired_too() -> None:
    assert parse_json('\ufeff{"a": NaN}') == {"a": None}
    assert parse_json("{'a': 1}") is None


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=9))
def test_any_text_with_python_constants_is_read_as_null(tree: Any) -> None:
    import json  # noqa: PLC0415 - the writer whose output is read here

    body = json.dumps([tree]).encode()
    assert read_json(BOM + body)[0] == _without_constants([tree])


def _without_constants(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_without_constants(it) for it in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


@given(st.binary(max_size=60))
def test_no_bytes_raise_or_become_json_without_a_fault(noise: bytes) -> None:
    tree, text = read_json(b"{" + noise)
    if tree is not None:
        assert orjson.loads(text) == tree


def test_a_text_with_too_many_marks_is_not_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lenient_json, "_MAX_MARKS", 10)
    for many in (b'""' * 6, b"\\" * 11, b"NaN " * 11, b"Infinity " * 11):
        assert read_json(b"[NaN]" + many) == (None, b"[NaN]" + many)
    assert read_json(b"[NaN" + b",NaN" * 9 + b"]")[0] == [None] * 10
    assert read_json(b"[NaN" + b",NaN" * 10 + b"]")[0] is None


def test_the_work_does_not_grow_faster_than_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    matched = 0
    pattern = lenient_json._UP_TO_CONSTANT  # noqa: SLF001 - its searches are counted

    class Counted:
        @staticmethod
        def match(text: bytes, at: int) -> Any:
            nonlocal matched
            found = pattern.match(text, at)
            matched += (found.end() if found else len(text)) - at
            return found

    monkeypatch.setattr(lenient_json, "_UP_TO_CONSTANT", Counted)
    makers: tuple[Callable[[int], bytes], ...] = (
        lambda size: b"[NaN" + b"-" * size,
        lambda size: b'["NaN' + b"\\\\" * size,
        lambda size: b"[NaN" + b",NaN" * size,
        lambda size: b"[NaN" + b"N" * size,
    )
    for make in makers:
        body, matched = make(10_000), 0
        read_json(body)
        assert matched <= len(body), body[:20]
