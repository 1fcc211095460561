"""The motifs of the sandbox's images: hills, orbits or tiles, in matching colours."""
# ruff: noqa: PLR2004 - a drawing is made of numbers; names would not explain them

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random

from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]
Size = tuple[int, int]


class Palette:
    """Colours near one hue, light to dark, and one complementary colour."""

    def __init__(self, rng: Random) -> None:
        # Avoids dark yellow (hue 100), which looks muddy: it starts elsewhere and turns away.
        self._hue = 150 + 260 * rng.random()
        self._turn = (30 + 30 * rng.random()) * (1 if self._hue < 280 else -1)
        self._dark = rng.random() < 0.4

    def background(self, step: float) -> Colour:
        """Return a colour of the background, `step` from 0 to 1 across it."""
        lightness = 0.30 + 0.25 * step if self._dark else 0.93 - 0.18 * step
        return oklch(lightness, 0.05 + 0.06 * step, self._hue + self._turn * step)

    def shape(self, step: float) -> Colour:
        """Return a colour for a shape, `step` from 0 (light) to 1 (dark)."""
        hue = self._hue + self._turn * (0.5 + step)
        return oklch(0.80 - 0.45 * step, 0.11 + 0.04 * step, hue)

    def accent(self) -> Colour:
        """Return the complementary colour."""
        return oklch(0.82, 0.15, self._hue + 180)


def oklch(lightness: float, chroma: float, hue: float) -> Colour:
    """Convert Oklch to sRGB. In Oklch, equal lightness looks equally light in every hue.

    Source: https://bottosson.github.io/posts/oklab/

    >>> oklch(1, 0, 0), oklch(0, 0, 0)
    ((255, 255, 255), (0, 0, 0))
    """
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _srgb(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _srgb(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _srgb(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _srgb(linear: float) -> int:
    """Convert linear light to one byte of sRGB."""
    light = min(1.0, max(0.0, linear))
    curved = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return round(255 * curved)


def draw_hills(pen: ImageDraw, rng: Random, palette: Palette, size: Size) -> None:
    """Draw a sun over rows of hills."""
    width, height = size
    side = min(size)
    sun = width * (0.2 + 0.6 * rng.random()), height * (0.2 + 0.15 * rng.random())
    for radius, alpha in ((0.26, 60), (0.20, 60), (0.14, 255)):
        pen.circle(sun, side * radius, (*palette.accent(), alpha))
    for row in range(5):
        ridge = _ridge(rng, width, height * (0.45 + 0.11 * row), side * 0.07)
        pen.polygon([(0, height), *ridge, (width, height)], (*palette.shape(row / 4), 235))


def _ridge(rng: Random, width: int, level: float, swing: float) -> Iterator[tuple[float, float]]:
    """Yield the points of a ridge, left to right: a long wave plus a short one."""
    long, short = 0.6 + rng.random(), 1.7 + 2 * rng.random()
    start, offset = rng.random() * math.tau, rng.random() * math.tau
    for step in range(129):
        turn = step / 128 * math.tau
        lift = math.sin(turn * long + start) + 0.4 * math.sin(turn * short + offset)
        yield step / 128 * width, level - swing * lift


def draw_orbits(pen: ImageDraw, rng: Random, palette: Palette, size: Size) -> None:
    """Draw concentric circles with a planet on each."""
    side = min(size)
    x, y = size[0] * (0.35 + 0.3 * rng.random()), size[1] * (0.36 + 0.12 * rng.random())
    for ring in range(7, 0, -1):
        radius, angle = side * 0.085 * ring, rng.random() * math.tau
        planet = x + radius * math.cos(angle), y + radius * math.sin(angle)
        pen.circle((x, y), radius, (*palette.shape(1 - ring / 8), 110))
        pen.circle(planet, side * (0.012 + 0.022 * rng.random()), (*palette.accent(), 255))
    pen.circle((x, y), side * 0.06, (*palette.accent(), 255))


def draw_tiles(pen: ImageDraw, rng: Random, palette: Palette, size: Size) -> None:
    """Draw rows of tiles: quarter circles, discs, gaps."""
    edge = max(8, math.ceil(min(size) / 5), max(size) // 40)
    for left in range(0, size[0], edge):
        for top in range(0, size[1], edge):
            colour = palette.accent() if rng.random() < 0.1 else palette.shape(rng.random())
            _draw_tile(pen, int(rng.random() * 6), (left, top, edge), (*colour, 225))


def _draw_tile(
    pen: ImageDraw, kind: int, place: tuple[int, int, int], fill: tuple[int, int, int, int]
) -> None:
    """Draw one tile; `kind` 0 to 3 is a quarter circle in one of its corners, 4 is a disc."""
    left, top, edge = place
    if kind < 4:
        x, y, start = left + edge * (kind % 2), top + edge * (kind // 2), (0, 90, 270, 180)[kind]
        pen.pieslice((x - edge, y - edge, x + edge, y + edge), start, start + 90, fill)
    elif kind == 4:
        pen.circle((left + edge / 2, top + edge / 2), edge * 0.38, fill)


MOTIFS: tuple[Callable[[ImageDraw, Random, Palette, Size], None], ...] = (
    draw_hills,
    draw_orbits,
    draw_tiles,
)
"""Every motif. Each fills the whole image, at any size and aspect ratio."""
