"""Zhipu: sizes in two families, two qualities, codes that are digits in text."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.zhipu import ADAPTER

BOUNDS = {"glm-image": (1024, 32, 2**22), "cogview-4-250304": (512, 16, 2**21)}


def translate(model: str = "glm-image", **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def parse_error(code: Any, status: int = 400) -> ProviderError:
    body = orjson.dumps({"error": {"code": code, "message": "no"}})
    return ADAPTER.provider_error(ProviderReply(status, {}, body))


@pytest.mark.parametrize("model", BOUNDS)
@given(width=st.integers(10, 99_999), height=st.integers(10, 99_999))
def test_a_size_is_one_that_the_model_can_draw(model: str, width: int, height: int) -> None:
    w, h = map(int, translate(model, size=f"{width}x{height}")["size"].split("x"))
    low, step, most = BOUNDS[model]
    assert low <= min(w, h) <= max(w, h) <= 2048
    assert (w % step, h % step) == (0, 0)
    assert w * h <= most


@pytest.mark.parametrize("model", BOUNDS)
@pytest.mark.parametrize("size", ["1024x1024", "1536x1024", "1024x1536", "1792x1024"])
def test_openais_sizes_go_as_they_are(model: str, size: str) -> None:
    assert translate(model, size=size) == {"size": size}


@pytest.mark.parametrize(
    ("quality", "sent"),
    [
        ("auto", {}),
        ("low", {"quality": "standard"}),
        ("standard", {"quality": "standard"}),
        ("high", {"quality": "hd"}),
        ("hd", {"quality": "hd"}),
    ],
)
def test_every_quality_is_one_of_two(quality: str, sent: dict[str, str]) -> None:
    assert translate(quality=quality) == sent


@pytest.mark.parametrize(("length", "sent"), [(5, set()), (6, {"user_id"}), (129, set())])
def test_a_user_is_named_where_the_length_fits(length: int, sent: set[str]) -> None:
    assert translate(user="u" * length).keys() == sent


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("1003", 401, "invalid_api_key"),
        ("1100", 401, "invalid_api_key"),
        ("1113", 429, "insufficient_quota"),
        ("1121", 429, "insufficient_quota"),
        ("1211", 404, "model_not_found"),
        ("1214", 400, None),
        ("1220", 403, None),
        ("1302", 429, "rate_limit_exceeded"),
        (1305, 429, "rate_limit_exceeded"),
        ("1309", 429, "insufficient_quota"),
        ("1320", 429, "insufficient_quota"),
    ],
)
def test_a_code_says_more_than_the_status(code: Any, status: int, said: str | None) -> None:
    error = parse_error(code)
    assert (error.status, error.code, error.provider_status) == (status, said, 400)


@pytest.mark.parametrize("code", ["1300", "1301", 1301])
def test_a_refusal_is_known_by_its_code(code: Any) -> None:
    assert isinstance(parse_error(code), Refusal)


def test_a_code_without_a_meaning_leaves_it_to_the_status() -> None:
    assert parse_error("500", 500).status == 502
