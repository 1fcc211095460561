"""Luma: a square unless told otherwise, and the reason of a failure."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.luma import ADAPTER
from adapters.table.table import UnsupportedPolicy


def translate(**params: Any) -> dict[str, Any]:
    return ADAPTER.table_for("photon-1").translate(params).fields


def make_reply(**tree: Any) -> ProviderReply:
    return ProviderReply(200, {}, orjson.dumps(tree))


def test_a_model_has_to_be_named() -> None:
    with pytest.raises(BadParam, match="photon-1"):
        ADAPTER.build_request(ImageCall({}, {}))


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ("256x256", "1:1"),
        ("1536x1024", "4:3"),
        ("1024x1536", "3:4"),
        ("1792x1024", "16:9"),
        ("1024x1792", "9:16"),
        ("auto", "1:1"),
    ],
)
def test_a_size_becomes_the_nearest_ratio(size: str, ratio: str) -> None:
    assert translate(size=size) == {"aspect_ratio": ratio}


def test_a_clients_own_ratio_needs_no_square_beside_it() -> None:
    assert translate(aspect_ratio="9:21") == {"aspect_ratio": "9:21"}


@pytest.mark.parametrize(
    ("asked", "sent"), [("jpeg", "jpg"), ("png", "png"), ("webp", "png"), ("gif", "png")]
)
def test_a_format_has_lumas_word_for_it_or_is_a_png(asked: str, sent: str) -> None:
    assert translate(output_format=asked)["format"] == sent


def test_a_format_that_luma_lacks_is_not_taken_for_the_same() -> None:
    table = ADAPTER.table_for("photon-1")
    assert (
        table.translate({"output_format": "jpeg"}, UnsupportedPolicy.STRICT).fields["format"]
        == "jpg"
    )
    with pytest.raises(BadParam, match="png"):
        table.translate({"output_format": "webp"}, UnsupportedPolicy.STRICT)


def test_no_client_has_luma_call_an_address() -> None:
    assert translate(prompt="x", callback_url="https://a.test").keys() == {"prompt", "aspect_ratio"}


@pytest.mark.parametrize("state", ["queued", "dreaming"])
def test_a_job_under_way_is_not_settled(state: str) -> None:
    assert not ADAPTER.is_finished(make_reply(state=state))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Image failed moderation", Refusal),
        ("Against the content policy", Refusal),
        ("out of memory", ProviderError),
    ],
)
def test_the_reason_of_a_failure_tells_a_refusal(reason: str, kind: type[ProviderError]) -> None:
    with pytest.raises(ProviderError, match=reason) as caught:
        ADAPTER.parse_answer(ImageCall({}, {}), make_reply(state="failed", failure_reason=reason))
    assert type(caught.value) is kind


@pytest.mark.parametrize("detail", ["no", [{"msg": "no"}]])
def test_a_detail_is_a_text_or_a_list(detail: Any) -> None:
    assert ADAPTER.error_message(make_reply(detail=detail)) == "no"
