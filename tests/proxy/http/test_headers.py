"""Headers that hold more than a word, and how deep JSON may go."""

from __future__ import annotations

import asyncio
import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from adapters.table.table import Policy
from proxy.errors import BadRequest
from proxy.http.headers import (
    is_deeper,
    read_flag,
    read_metadata,
    read_milliseconds,
    read_policy,
    usable_trace,
)
from proxy.observability.access_log import ACCESS_LOG
from tests.support.gateway import KEY, PATH, gateway

NAME = "x-portkey-request-timeout"


@pytest.mark.parametrize(("text", "seconds"), [("1", 0.001), ("300000", 300), (" 50 ", 0.05)])
def test_milliseconds_become_seconds(text: str, seconds: float) -> None:
    assert read_milliseconds({NAME: text}, NAME, 3_600_000) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "abc", "9" * 5000, "٣", "3600001"])  # noqa: RUF001 - a digit that is not ASCII
def test_what_is_no_number_of_milliseconds_is_named(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_milliseconds({NAME: text}, NAME, 3_600_000)
    assert refused.value.param == NAME


@pytest.mark.parametrize(
    ("text", "meant"), [("true", True), ("True", True), ("false", False), ("", False)]
)
def test_a_flag_is_true_or_false_in_any_case(text: str, meant: bool) -> None:  # noqa: FBT001 - a case's value
    assert read_flag({"x": text}, "x") is meant


@pytest.mark.parametrize("text", ["yes", "1", "truee"])
def test_any_other_flag_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        read_flag({"x": text}, "x")


@given(st.text())
def test_metadata_is_an_object_or_refused(text: str) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(read_metadata({"x-portkey-metadata": text}), dict)


def test_a_policy_is_one_of_three_or_left_to_others() -> None:
    assert read_policy({}) is None
    assert read_policy({"x-easel-unsupported": "pass"}) is Policy.PASS
    assert read_policy({"x-easel-unsupported": "Strict"}) is Policy.STRICT
    with pytest.raises(BadRequest):
        read_policy({"x-easel-unsupported": "ignore"})


@pytest.mark.parametrize("text", ["", "a\nb", "é", "x" * 513])
def test_a_trace_id_that_would_harm_a_header_is_not_usable(text: str) -> None:
    assert not usable_trace(text)


@given(st.integers(1, 60), st.integers(1, 60))
def test_depth_is_counted_in_levels(depth: int, limit: int) -> None:
    tree: object = 1
    for _ in range(depth):
        tree = {"a": tree}
    assert is_deeper(tree, limit) == (depth > limit)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_is_not_compressed_as_it_says_is_400(encoding: str) -> None:
    async with gateway() as ours:
        got = await ours.ask(b'{"prompt": "x"}', content_encoding=encoding)
    assert (got.status, got.error["code"]) == (400, "invalid_json")


async def test_a_client_that_leaves_in_mid_body_is_no_failure_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nx-portkey-api-key: {KEY}\r\n"
    async with gateway() as ours:
        _, client = await asyncio.open_connection("127.0.0.1", URL(ours.url).port)
        client.write(
            f"{head}content-length: 9\r\ncontent-type: application/json\r\n\r\n{{".encode()
        )
        await asyncio.sleep(0.05)
        client.close()
        await asyncio.sleep(0.05)
        ours.app[ACCESS_LOG].flush()
    assert orjson.loads(ours.log.getvalue())["error"] == "invalid_json"
    assert not caplog.records
