"""What the pictures show."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import pytest
from PIL import Image, ImageDraw

from proxy.sandbox.motifs import MOTIFS, Palette, Size, oklch

DICE = partial(Random, "fox")
Motif = Callable[[ImageDraw.ImageDraw, Random, Palette, Size], None]


@pytest.mark.parametrize("motif", MOTIFS)
@pytest.mark.parametrize("size", [(16, 16), (16, 3840), (3840, 16), (640, 480)])
def test_every_motif_fills_every_ratio(motif: Motif, size: Size) -> None:
    image = Image.new("RGB", size)
    dice = DICE()
    motif(ImageDraw.Draw(image, "RGBA"), dice, Palette(dice), size)
    assert image.getbbox() is not None


@pytest.mark.parametrize("hue", range(0, 360, 15))
def test_every_hue_gives_a_colour_that_exists(hue: int) -> None:
    assert all(0 <= part <= 255 for part in oklch(0.8, 0.15, hue))


def test_forms_go_from_light_to_deep() -> None:
    palette = Palette(DICE())
    assert sum(palette.shape(0)) > sum(palette.shape(0.5)) > sum(palette.shape(1))


def test_the_accent_is_none_of_the_other_colours() -> None:
    palette = Palette(DICE())
    others = {palette.shape(step / 8) for step in range(9)} | {
        palette.background(0),
        palette.background(1),
    }
    assert palette.accent() not in others
