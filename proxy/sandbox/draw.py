"""Draws the studio's pictures: from a prompt and a digest, the same every time.

Nothing here knows of calls or sockets. A `Subject` says everything that a picture depends on.
This module and its two neighbours, `motifs` and `caption`, are the only ones that import Pillow;
whoever draws the first picture imports them then.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from random import Random
from typing import Any, Final

from PIL import Image, ImageDraw

from proxy.sandbox.caption import draw_caption
from proxy.sandbox.motifs import MOTIFS, Palette

PREVIEW_BLOCKS: Final = (64, 16, 4)
"""How coarse a picture is while it is made, in pixels a block: the coarsest first."""

_MAX_OVERSAMPLED_PIXELS = 1 << 21
"""Pictures up to this many pixels are drawn at twice their size, which smooths every edge."""
_MIN_CAPTION_SIDE = 128


@dataclass(frozen=True, slots=True)
class Scene:
    """What to draw. `digest` is hexadecimal; with `index` it decides on colours and forms."""

    prompt: str
    width: int
    height: int
    digest: str
    index: int = 0
    transparent: bool = False


def draw(subject: Scene) -> Image.Image:
    """Draw a picture of exactly the asked size: RGB, or RGBA on a transparent ground."""
    scale = _oversampling(subject)
    size = subject.width * scale, subject.height * scale
    dice = Random(f"{subject.digest}/{subject.index}")  # noqa: S311 - repeatable on purpose
    palette = Palette(dice)
    image = _paint_background(dice, palette, size)
    motif = MOTIFS[int(dice.random() * len(MOTIFS))]
    motif(ImageDraw.Draw(image, "RGBA"), dice, palette, size)
    if min(subject.width, subject.height) >= _MIN_CAPTION_SIDE:
        draw_caption(image, subject.prompt, f"sha256 {subject.digest}", f" #{subject.index + 1}")
    image = image.reduce(scale)
    if subject.transparent:
        image.putalpha(_rounded_alpha(subject))
    return image


def preview(image: Image.Image, stage: int) -> Image.Image:
    """Give the picture as it looks at a stage of `STAGES`: the whole of it, still blurred."""
    block = PREVIEW_BLOCKS[stage]
    width, height = (max(1, side // block) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def encode(image: Image.Image, output_format: str, compression: int = 100) -> bytes:
    """Write the picture as `png`, `jpeg` or `webp`.

    `compression` is OpenAI's `output_compression`, 0 to 100: 100 is the best picture and the
    most bytes. A PNG loses nothing and has no use for it.
    """
    options: dict[str, dict[str, Any]] = {
        "png": {"compress_level": 3},
        "jpeg": {"quality": compression, "subsampling": 0},
        "webp": {"quality": compression, "method": 1},
    }
    out = BytesIO()
    image.save(out, output_format, **options[output_format])
    return out.getvalue()


def _oversampling(subject: Scene) -> int:
    return 2 if subject.width * subject.height <= _MAX_OVERSAMPLED_PIXELS else 1


def _paint_background(dice: Random, palette: Palette, size: tuple[int, int]) -> Image.Image:
    """Paint a soft gradient: nine points of colour, and all between them interpolated."""
    points = Image.new("RGB", (3, 3))
    for x in range(3):
        for y in range(3):
            points.putpixel((x, y), palette.background((x + 2 * y) / 6 * 0.7 + 0.3 * dice.random()))
    return points.resize(size, Image.Resampling.BICUBIC)


def _rounded_alpha(subject: Scene) -> Image.Image:
    """Give the alpha of a transparent ground: a card with round corners, clear around it."""
    scale = _oversampling(subject)
    alpha = Image.new("L", (subject.width * scale, subject.height * scale), 0)
    side = min(alpha.size)
    inset = max(scale, round(side * 0.025))
    card = (inset, inset, alpha.width - 1 - inset, alpha.height - 1 - inset)
    ImageDraw.Draw(alpha).rounded_rectangle(card, round(side * 0.12), 255)
    return alpha.reduce(scale)
