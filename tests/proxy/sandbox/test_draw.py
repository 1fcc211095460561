"""The studio's pictures."""

from __future__ import annotations

import time
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from proxy.sandbox.draw import PREVIEW_BLOCKS, Scene, draw, encode, preview

FOX = Scene("a red fox in the snow", 64, 48, "c0ffee")
SIZES = [(16, 16), (17, 31), (16, 3840), (3840, 16), (128, 128), (300, 200), (3840, 2160)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_picture_has_exactly_the_asked_size(width: int, height: int) -> None:
    assert draw(Scene("fox", width, height, "c0ffee")).size == (width, height)


@settings(max_examples=60, deadline=None)
@given(prompt=st.text(), digest=st.text("0123456789abcdef", max_size=64))
def test_any_text_can_be_drawn(prompt: str, digest: str) -> None:
    assert draw(Scene(prompt, 160, 128, digest)).mode == "RGB"


@pytest.mark.parametrize(
    "prompt", ["", " ", "\0\n\t", "\ud800", "狐" * 500, "🦊🏽\u200d🚀", "مرحبا", "x" * 32_000]
)
def test_awkward_prompts_are_drawn_like_any_other(prompt: str) -> None:
    assert draw(Scene(prompt, 256, 256, "c0ffee")).size == (256, 256)


def test_the_same_subject_gives_the_same_bytes() -> None:
    assert encode(draw(FOX), "png") == encode(draw(FOX), "png")


@pytest.mark.parametrize(
    "other",
    [
        Scene("a red fox in the snow", 64, 48, "c0ffef"),
        Scene("a red fox in the snow", 64, 48, "c0ffee", index=1),
    ],
)
def test_another_digest_or_index_gives_another_picture(other: Scene) -> None:
    assert draw(other).tobytes() != draw(FOX).tobytes()


def test_the_prompt_is_drawn_in() -> None:
    plain = draw(Scene("fox", 512, 512, "c0ffee")).tobytes()
    assert draw(Scene("box", 512, 512, "c0ffee")).tobytes() != plain


def test_a_transparent_picture_has_clear_corners_and_a_solid_middle() -> None:
    image = draw(Scene("fox", 64, 64, "c0ffee", transparent=True))
    assert image.mode == "RGBA"
    alpha = image.getchannel("A")
    assert (alpha.getpixel((0, 0)), alpha.getpixel((32, 32))) == (0, 255)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("compression", [0, 50, 100])
def test_each_format_is_what_it_says(form: str, compression: int) -> None:
    with Image.open(BytesIO(encode(draw(FOX), form, compression))) as image:
        image.load()
        assert (image.format, image.size) == (form.upper(), (64, 48))


@pytest.mark.parametrize("form", ["png", "webp"])
def test_transparency_survives_the_encoding(form: str) -> None:
    clear = draw(Scene("fox", 64, 64, "c0ffee", transparent=True))
    with Image.open(BytesIO(encode(clear, form))) as image:
        assert image.mode == "RGBA"


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_compression_100_is_the_best_picture(form: str) -> None:
    image = draw(FOX)
    assert len(encode(image, form, 100)) > len(encode(image, form, 10))


def test_partial_pictures_come_closer_stage_by_stage() -> None:
    image = draw(Scene("fox", 256, 256, "c0ffee"))
    stages = [preview(image, stage) for stage in range(len(PREVIEW_BLOCKS))]
    far = [sum(ImageStat.Stat(ImageChops.difference(image, stage)).sum) for stage in stages]
    assert far == sorted(far, reverse=True)
    assert {stage.size for stage in stages} == {image.size}


def test_a_usual_picture_is_drawn_in_well_under_a_second() -> None:
    # It takes about a tenth of that; the bound is for a busy machine.
    begin = time.process_time()
    encode(draw(Scene("a red fox in the snow", 1024, 1024, "c0ffee")), "png")
    assert time.process_time() - begin < 1.0
