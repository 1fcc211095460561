"""Draws the sandbox's images: the same `Scene` always gives the same image.

A `Scene` holds everything that an image depends on. Only this module and its two neighbours,
`motifs` and `caption`, import Pillow; they are imported with the first image.
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
"""Block sizes of the partial images in pixels, coarsest first."""

_MAX_OVERSAMPLED_PIXELS = 1 << 21
"""Images of up to this many pixels are drawn at twice their size, which smooths edges."""
_MIN_CAPTION_SIDE = 128


@dataclass(frozen=True, slots=True)
class Scene:
    """What to draw. `digest` (hexadecimal) and `index` seed the colours and shapes."""

    prompt: str
    width: int
    height: int
    digest: str
    index: int = 0
    transparent: bool = False


def draw(scene: Scene) -> Image.Image:
    """Draw an image of exactly the requested size: RGB, or RGBA if transparent."""
    scale = _oversampling(scene)
    size = scene.width * scale, scene.height * scale
    rng = Random(f"{scene.digest}/{scene.index}")  # noqa: S311 - repeatable on purpose
    palette = Palette(rng)
    image = _paint_background(rng, palette, size)
    motif = MOTIFS[int(rng.random() * len(MOTIFS))]
    motif(ImageDraw.Draw(image, "RGBA"), rng, palette, size)
    if min(scene.width, scene.height) >= _MIN_CAPTION_SIDE:
        draw_caption(image, scene.prompt, f"sha256 {scene.digest}", f" #{scene.index + 1}")
    image = image.reduce(scale)
    if scene.transparent:
        image.putalpha(_rounded_alpha(scene))
    return image


def preview(image: Image.Image, stage: int) -> Image.Image:
    """Return the partial image of a stage: all of it, blurred by `PREVIEW_BLOCKS[stage]`."""
    block = PREVIEW_BLOCKS[stage]
    width, height = (max(1, side // block) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def encode(image: Image.Image, output_format: str, compression: int = 100) -> bytes:
    """Encode the image as `png`, `jpeg` or `webp`.

    `compression` is OpenAI's `output_compression`, 0 to 100: 100 is the best quality and the most
    bytes. PNG is lossless and ignores it.
    """
    options: dict[str, dict[str, Any]] = {
        "png": {"compress_level": 3},
        "jpeg": {"quality": compression, "subsampling": 0},
        "webp": {"quality": compression, "method": 1},
    }
    out = BytesIO()
    image.save(out, output_format, **options[output_format])
    return out.getvalue()


def _oversampling(scene: Scene) -> int:
    return 2 if scene.width * scene.height <= _MAX_OVERSAMPLED_PIXELS else 1


def _paint_background(rng: Random, palette: Palette, size: tuple[int, int]) -> Image.Image:
    """Paint a soft gradient, interpolated between nine points of colour."""
    points = Image.new("RGB", (3, 3))
    for x in range(3):
        for y in range(3):
            points.putpixel((x, y), palette.background((x + 2 * y) / 6 * 0.7 + 0.3 * rng.random()))
    return points.resize(size, Image.Resampling.BICUBIC)


def _rounded_alpha(scene: Scene) -> Image.Image:
    """Return the alpha channel of a transparent image: an opaque card with round corners."""
    scale = _oversampling(scene)
    alpha = Image.new("L", (scene.width * scale, scene.height * scale), 0)
    side = min(alpha.size)
    inset = max(scale, round(side * 0.025))
    card = (inset, inset, alpha.width - 1 - inset, alpha.height - 1 - inset)
    ImageDraw.Draw(alpha).rounded_rectangle(card, round(side * 0.12), 255)
    return alpha.reduce(scale)
