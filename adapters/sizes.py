"""Sizes: OpenAI's `WIDTHxHEIGHT` in the words of other providers.

Each function makes a converter for a `Param` row. A converter is given a size that is legal in
OpenAI's contract (`auto` or `WxH`) and gives the provider's fields; `{}` says: leave it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import floor, gcd, log, sqrt
from typing import Any

Converter = Callable[[Any], Mapping[str, Any]]

# 1792x1024 is what OpenAI calls its landscape; its true ratio is 7:4, meant is 16:9.
_MEANT = {(1792, 1024): (16, 9), (1024, 1792): (9, 16)}


def parse(size: str) -> tuple[int, int] | None:
    """Split `WxH` into pixels; None for `auto`.

    >>> parse("1536x1024"), parse("auto")
    ((1536, 1024), None)
    """
    width, cross, height = size.lower().partition("x")
    return (int(width), int(height)) if cross else None


def ratio(choices: Iterable[str], *, field: str = "aspect_ratio") -> Converter:
    """Make a converter to the nearest of the ratios a provider offers, as `W:H`.

    >>> ratio(["1:1", "16:9", "2:3"])("1792x1024")
    {'aspect_ratio': '16:9'}
    >>> ratio(["1:1", "16:9"])("auto")
    {}
    """
    offered = {choice: _quotient(*map(int, choice.split(":"))) for choice in choices}

    def convert(size: str) -> Mapping[str, Any]:
        if not (pixels := parse(size)):
            return {}
        wanted = _quotient(*_MEANT.get(pixels, pixels))
        return {field: min(offered, key=lambda choice: abs(offered[choice] - wanted))}

    return convert


def reduced_ratio(*, field: str = "aspect_ratio", widest: float = 21 / 9) -> Converter:
    """Make a converter to the ratio itself, reduced, for providers that take any `W:H`.

    What is wider (or taller) than `widest` becomes `widest`, 21:9 for most.

    >>> reduced_ratio()("1536x1024"), reduced_ratio()("1792x1024"), reduced_ratio()("3000x1000")
    ({'aspect_ratio': '3:2'}, {'aspect_ratio': '16:9'}, {'aspect_ratio': '21:9'})
    """

    def convert(size: str) -> Mapping[str, Any]:
        if not (pixels := parse(size)):
            return {}
        width, height = _MEANT.get(pixels, pixels)
        if width / height > widest:
            return {field: f"{round(widest * 9)}:9"}
        if height / width > widest:
            return {field: f"9:{round(widest * 9)}"}
        step = gcd(width, height)
        return {field: f"{width // step}:{height // step}"}

    return convert


def pixels(  # noqa: PLR0913 - these are the ways in which providers bound a size
    *,
    low: int,
    high: int,
    step: int = 1,
    most: int | None = None,
    width: str = "width",
    height: str = "height",
) -> Converter:
    """Make a converter to width and height fields, kept in bounds with the ratio kept.

    A side is `low` to `high` pixels and a multiple of `step`; the picture has at most `most`
    pixels.

    >>> pixels(low=256, high=1440, step=32)("1792x1024")
    {'width': 1440, 'height': 832}
    """

    def convert(size: str) -> Mapping[str, Any]:
        if not (asked := parse(size)):
            return {}
        w, h = asked
        scale = min(1.0, high / max(w, h), sqrt(most / (w * h)) if most else 1.0)
        if min(w, h) * scale < low:
            scale = low / min(w, h)
        w, h = _fit(w * scale, low, high, step), _fit(h * scale, low, high, step)
        if most and w * h > most:  # by rounding up, or because one side had to grow to `low`
            side = _fit(most // min(w, h), low, high, step, rounded=floor)
            w, h = min(w, side), min(h, side)
        return {width: w, height: h}

    return convert


def listed(sizes: Iterable[str], *, field: str = "size", cross: str = "x") -> Converter:
    """Make a converter to the nearest of a list of sizes: the ratio first, then the area.

    >>> listed(["1024x1024", "1344x768"])("1792x1024")
    {'size': '1344x768'}
    """
    nearest = _nearest_listed(sizes)

    def convert(size: str) -> Mapping[str, Any]:
        found = nearest(size)
        return {field: f"{found[0]}{cross}{found[1]}"} if found else {}

    return convert


def listed_pixels(
    sizes: Iterable[str], *, width: str = "width", height: str = "height"
) -> Converter:
    """Make a converter to the nearest of a list of sizes, as width and height fields.

    >>> listed_pixels(["1024x1024", "1344x768"])("1792x1024")
    {'width': 1344, 'height': 768}
    """
    nearest = _nearest_listed(sizes)

    def convert(size: str) -> Mapping[str, Any]:
        found = nearest(size)
        return {width: found[0], height: found[1]} if found else {}

    return convert


def _nearest_listed(sizes: Iterable[str]) -> Callable[[str], tuple[int, int] | None]:
    offered = [found for size in sizes if (found := parse(size))]

    def nearest(size: str) -> tuple[int, int] | None:
        if not (asked := parse(size)):
            return None
        wanted = _quotient(*asked)
        area = log(asked[0] * asked[1])
        return min(
            offered,
            key=lambda it: (round(abs(_quotient(*it) - wanted), 3), abs(log(it[0] * it[1]) - area)),
        )

    return nearest


def _quotient(width: int, height: int) -> float:
    """Put a ratio on a scale where twice as wide and twice as tall are equally far from square."""
    return log(width / height)


def _fit(
    side: float, low: int, high: int, step: int, *, rounded: Callable[[float], int] = round
) -> int:
    """Bring a side to a multiple of `step` within bounds."""
    least = -(-low // step) * step
    ceiling = high // step * step
    return max(least, min(ceiling, rounded(side / step) * step))
