"""A model's name in a URL stays where it was put."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import BadParam
from adapters.tools.url_paths import quote_model, quote_segment

SAFE = ("", "/", "@/")
HOSTILE = (
    *("..", "../../v1/keys", "a/../b", "./a", "a//b", "/a", "a/", "a/./b", ".hidden"),
    *("a?x=1", "a#b", "a%2e%2e", "a%2Fb", "a\\b", "a b", "a\n", "a\r\nhost: x", "a\x00"),
    *("https://evil.test", "ä", "a" * 513, "-rf", "{model}"),
)


@pytest.mark.parametrize(
    ("model", "safe", "path"),
    [
        ("sd3.5-large", "", "sd3.5-large"),
        ("owner/name", "", "owner%2Fname"),
        ("owner/name", "/", "owner/name"),
        ("@cf/black-forest-labs/flux-1-schnell", "@/", "@cf/black-forest-labs/flux-1-schnell"),
        ("amazon.nova-canvas-v1:0", "", "amazon.nova-canvas-v1%3A0"),
        ("fluently-xl+lora", "", "fluently-xl%2Blora"),
    ],
)
def test_a_name_is_encoded_but_for_what_is_safe(model: str, safe: str, path: str) -> None:
    assert quote_model(model, safe=safe) == path


@pytest.mark.parametrize("safe", SAFE)
def test_a_name_that_could_leave_its_place_is_refused(safe: str) -> None:
    for model in HOSTILE:
        with pytest.raises(BadParam) as caught:
            quote_model(model, safe=safe)
        assert (caught.value.param, caught.value.status) == ("model", 400), model


def test_a_missing_name_is_asked_for_with_an_example() -> None:
    with pytest.raises(BadParam, match="such as flux-2-pro") as caught:
        quote_model("", example="flux-2-pro")
    assert caught.value.code == "model_needed"


@given(model=st.text("aZ0@._:/+-%?#&\\ \n", max_size=12), safe=st.sampled_from(SAFE))
def test_whatever_is_let_through_is_one_path_and_nothing_else(model: str, safe: str) -> None:
    try:
        path = quote_model(model, safe=safe)
    except BadParam:
        return
    url = urlsplit(f"https://api.test/v1/{path}/run?key=1")
    assert (url.netloc, url.query, url.fragment) == ("api.test", "key=1", "")
    assert unquote(url.path) == f"/v1/{model}/run"
    assert ".." not in url.path.split("/")


@given(name=st.text("aZ0@._:/+-%?#&\\ \n", max_size=12))
def test_whatever_a_reply_names_is_one_step_or_none(name: str) -> None:
    made = quote_segment(name)
    url = urlsplit(f"https://api.test/v1/{made}/run?key=1")
    assert (url.netloc, url.query, url.fragment) == ("api.test", "key=1", "")
    assert len(url.path.split("/")) == 4
    assert made not in (".", "..")
