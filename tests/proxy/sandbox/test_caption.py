"""The words on the pictures."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from proxy.sandbox.caption import MAX_LINES, draw_caption, load_font, shorten, wrap

FONT = load_font(20)


def test_a_short_text_is_one_line() -> None:
    assert wrap("a red fox", FONT, 400) == ["a red fox"]


def test_a_text_is_broken_at_its_spaces() -> None:
    assert wrap("a red fox in the snow", FONT, 100) == ["a red fox in", "the snow"]


def test_what_does_not_fit_ends_in_an_ellipsis() -> None:
    lines = wrap("a red fox in the snow " * 5, FONT, 100)
    assert len(lines) == MAX_LINES
    assert lines[-1].endswith("…")


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=500), room=st.integers(40, 400))
def test_no_line_is_wider_than_its_room(text: str, room: int) -> None:
    lines = wrap(text, FONT, room)
    assert len(lines) <= MAX_LINES
    assert all(FONT.getlength(line) <= room for line in lines)


@pytest.mark.parametrize(("room", "shown"), [(1000, "sha256 abc"), (60, "sha2…"), (1, "…")])
def test_a_line_is_shortened_until_it_fits(room: int, shown: str) -> None:
    assert shorten("sha256 abc", FONT, room) == shown


def test_a_caption_darkens_the_foot_and_leaves_the_top_alone() -> None:
    image = Image.new("RGB", (256, 256), "white")
    draw_caption(image, "a red fox", "sha256 c0ffee", " #1")
    box = Image.eval(image, lambda light: 255 - light).getbbox()
    assert box is not None
    assert box[1] > 128


def test_prompt_foot_and_mark_are_all_written() -> None:
    written = set()
    for words in [
        ("fox", "abc", " #1"),
        ("box", "abc", " #1"),
        ("fox", "abd", " #1"),
        ("fox", "abc", " #2"),
    ]:
        image = Image.new("RGB", (256, 256))
        draw_caption(image, *words)
        written.add(image.tobytes())
    assert len(written) == 4
