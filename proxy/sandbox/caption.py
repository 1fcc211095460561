"""The caption on a picture: the prompt, and under it what the picture was made from.

The font is the one inside Pillow. It knows the Latin letters; any other is drawn as a box.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

LINES = 3
"""How many lines of the prompt are shown."""

_READ = 400
"""How many characters of a prompt are looked at: more than fit, and a bound on the work."""
_WHITE, _GREY, _CARD = (255, 255, 255), (255, 255, 255, 170), (12, 14, 24, 190)


def caption(image: Image.Image, text: str, foot: str, mark: str) -> None:
    """Write on a dark card at the foot of the picture; `foot` is cut before `mark` if it must."""
    side = min(image.width, image.height * 1.5)
    margin, pitch = round(side * 0.055), round(side * 0.055)
    room = image.width - 3.6 * margin
    large, small = font(side * 0.042), font(side * 0.019)
    lines = wrapped(text, large, room)
    left, bottom = 1.8 * margin, image.height - margin
    top = bottom - 1.8 * margin - pitch * len(lines) - round(side * 0.025)
    pen = ImageDraw.Draw(image, "RGBA")
    card = (margin, round(top), image.width - margin, bottom)
    pen.rounded_rectangle(card, round(margin * 0.7), _CARD)
    for row, line in enumerate(lines):
        pen.text((left, top + margin * 0.8 + row * pitch), line, _WHITE, large)
    signed = shortened(foot, small, room - small.getlength(mark)) + mark
    pen.text((left, bottom - 0.8 * margin), signed, _GREY, small, "ls")


def wrapped(text: str, font: FreeTypeFont, room: float) -> list[str]:
    """Break a text into at most `LINES` lines that fit, at spaces where there are any."""
    lines = [""]
    for word in _words(text[:_READ], font, room):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > LINES:
        lines = lines[:LINES]
        lines[-1] = shortened(lines[-1] + "…", font, room)
    return lines


def shortened(line: str, font: FreeTypeFont, room: float) -> str:
    """Cut a line until it fits; what was cut is an ellipsis."""
    while len(line) > 1 and font.getlength(line) > room:
        line = line.removesuffix("…")[:-1] + "…"
    return line


def _words(text: str, font: FreeTypeFont, room: float) -> Iterator[str]:
    """Give the words of a text; one that is wider than a line comes in pieces."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    for word in printable.split():
        piece = ""
        for letter in word:
            if piece and font.getlength(piece + letter) > room:
                yield piece
                piece = ""
            piece += letter
        yield piece


def font(size: float) -> FreeTypeFont:
    """Give Pillow's own font, laid out by Pillow alone: the same on every machine."""
    # Asked for a size, Pillow gives its scalable font.
    font = cast("FreeTypeFont", ImageFont.load_default(max(6, round(size))))
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)
