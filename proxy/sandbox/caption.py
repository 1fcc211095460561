"""The caption on a picture: the prompt, and under it what the picture was made from.

The font is the one inside Pillow. It knows the Latin letters; any other is drawn as a box.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

MAX_LINES = 3
"""How many lines of the prompt are shown."""

_MAX_PROMPT_CHARACTERS = 400
"""How many characters of a prompt are looked at: more than fit, and a bound on the work."""
_WHITE, _GREY, _CARD = (255, 255, 255), (255, 255, 255, 170), (12, 14, 24, 190)


def draw_caption(image: Image.Image, text: str, foot: str, mark: str) -> None:
    """Write on a dark card at the foot of the picture; `foot` is cut before `mark` if it must."""
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
    """Break a text into at most `LINES` lines that fit, at spaces where there are any."""
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
    """Cut a line until it fits; what was cut is an ellipsis."""
    while len(line) > 1 and font.getlength(line) > max_width:
        line = line.removesuffix("…")[:-1] + "…"
    return line


def _words(text: str, font: FreeTypeFont, max_width: float) -> Iterator[str]:
    """Give the words of a text; one that is wider than a line comes in pieces."""
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
    """Give Pillow's own font, laid out by Pillow alone: the same on every machine."""
    # Asked for a size, Pillow gives its scalable font.
    font = cast("FreeTypeFont", ImageFont.load_default(max(6, round(size))))
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)
