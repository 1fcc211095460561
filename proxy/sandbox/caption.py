"""The caption of an image: the prompt, and below it the digest that the image is drawn from.

The font is Pillow's built-in one. It has Latin letters; any other is drawn as a box.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

MAX_LINES = 3
"""Number of prompt lines shown."""

_MAX_PROMPT_CHARACTERS = 400
"""Number of prompt characters considered: more than fit, and a bound on the work."""
_WHITE, _GREY, _CARD = (255, 255, 255), (255, 255, 255, 170), (12, 14, 24, 190)


def draw_caption(image: Image.Image, text: str, foot: str, mark: str) -> None:
    """Draw the caption on a dark card at the bottom; `foot` is shortened, `mark` is not."""
    side = min(image.width, image.height * 1.5)
    margin, pitch = round(side * 0.055), round(side * 0.055)
    max_width = image.width - 3.6 * margin
    large, small = load_font(side * 0.042), load_font(side * 0.019)
    lines = wrap(text, large, max_width)
    left, bottom = 1.8 * margin, image.height - margin
    top = bottom - 1.8 * margin - pitch * len(lines) - round(side * 0.025)
    pen = ImageDraw.Draw(image, "RGBA")
    card = (margin, round(top), image.width - margin, bottom)
    pen.rounded_rectangle(card, round(margin * 0.7), _CARD)
    for row, line in enumerate(lines):
        pen.text((left, top + margin * 0.8 + row * pitch), line, _WHITE, large)
    signed = shorten(foot, small, max_width - small.getlength(mark)) + mark
    pen.text((left, bottom - 0.8 * margin), signed, _GREY, small, "ls")


def wrap(text: str, font: FreeTypeFont, max_width: float) -> list[str]:
    """Break a text into at most `MAX_LINES` lines that fit, at spaces if possible."""
    lines = [""]
    for word in _words(text[:_MAX_PROMPT_CHARACTERS], font, max_width):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= max_width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > MAX_LINES:
        lines = lines[:MAX_LINES]
        lines[-1] = shorten(lines[-1] + "…", font, max_width)
    return lines


def shorten(line: str, font: FreeTypeFont, max_width: float) -> str:
    """Shorten a line until it fits; an ellipsis marks the cut."""
    while len(line) > 1 and font.getlength(line) > max_width:
        line = line.removesuffix("…")[:-1] + "…"
    return line


def _words(text: str, font: FreeTypeFont, max_width: float) -> Iterator[str]:
    """Yield the words of a text; one that is wider than a line is split."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    for word in printable.split():
        piece = ""
        for letter in word:
            if piece and font.getlength(piece + letter) > max_width:
                yield piece
                piece = ""
            piece += letter
        yield piece


def load_font(size: float) -> FreeTypeFont:
    """Return Pillow's built-in font with its basic layout: the same on every machine."""
    # With a size, Pillow returns its scalable font.
    font = cast("FreeTypeFont", ImageFont.load_default(max(6, round(size))))
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)
