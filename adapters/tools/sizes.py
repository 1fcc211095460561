"""Sizes: OpenAI's `WIDTHxHEIGHT` in the words of other providers.

Each function makes a converter for a `Param` row. A converter is given a size that is legal in
OpenAI's contract (`auto` or `WxH`) and gives the provider's fields; `{}` says: leave it out;
`Nearest` says: another ratio, or another number of pixels where pixels are what is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import floor, gcd, log, sqrt
from typing import Any

from adapters.table.param import Approximation

Fields = dict[str, Any]

# 1792x1024 is what OpenAI calls its landscape; its true ratio is 7:4, meant is 16:9.
_INTENDED = {(1792, 1024): (16, 9), (1024, 1792): (9, 16)}


@dataclass(frozen=True, slots=True)
class Converter:
    """What a row's `to` is called with a size; `says` tells people what it does."""

    description: str
    convert: Callable[[int, int], Fields]

    def __call__(self, size: str) -> Fields:
        """Give the fields for a size; none for `auto`."""
        asked = parse_size(size)
        return self.convert(*asked) if asked else {}


def parse_size(size: str) -> tuple[int, int] | None:
    """Split `WxH` into pixels; None for `auto`.

    >>> parse_size("1536x1024"), parse_size("auto")
    ((1536, 1024), None)
    """
    width, cross, height = size.lower().partition("x")
    return (int(width), int(height)) if cross else None


def ratio(choices: Iterable[str] | Mapping[str, Any], *, field: str = "aspect_ratio") -> Converter:
    """Make a converter to the nearest of the ratios a provider offers, as `W:H`.

    `choices` can be a mapping from `W:H` to the provider's word for it.

    >>> ratio(["1:1", "16:9", "2:3"])("1792x1024")
    {'aspect_ratio': '16:9'}
    >>> ratio({"1:1": "square", "16:9": "wide"}, field="shape")("1024x1024")
    {'shape': 'square'}
    >>> ratio(["1:1", "16:9"])("auto")
    {}
    """
    words: dict[str, Any] = {it: it for it in choices}
    if isinstance(choices, Mapping):
        words = dict(choices)
    offered = {choice: _ratio_of(choice) for choice in words}

    def convert(width: int, height: int) -> Fields:
        wanted = _log_ratio(*_INTENDED.get((width, height), (width, height)))
        found = min(offered, key=lambda choice: abs(offered[choice] - wanted))
        made = {field: words[found]}
        return made if abs(offered[found] - log(width / height)) < _SAME else Approximation(made)

    return Converter(f"the nearest ratio of {', '.join(words)}", convert)


def reduced_ratio(*, field: str = "aspect_ratio", max_ratio: float = 21 / 9) -> Converter:
    """Make a converter to the ratio itself, reduced, for providers that take any `W:H`.

    What is wider (or taller) than `widest` becomes `widest`, 21:9 for most.

    >>> reduced_ratio()("1536x1024"), reduced_ratio()("1792x1024"), reduced_ratio()("3000x1000")
    ({'aspect_ratio': '3:2'}, {'aspect_ratio': '16:9'}, {'aspect_ratio': '21:9'})
    """

    def convert(width: int, height: int) -> Fields:
        meant = _INTENDED.get((width, height), (width, height))
        w, h = meant
        if w / h > max_ratio:
            return Approximation({field: f"{round(max_ratio * 9)}:9"})
        if h / w > max_ratio:
            return Approximation({field: f"9:{round(max_ratio * 9)}"})
        step = gcd(w, h)
        made = {field: f"{w // step}:{h // step}"}
        return made if meant == (width, height) else Approximation(made)

    return Converter(f"the ratio, reduced, up to {round(max_ratio * 9)}:9", convert)


def tiers(ratios: Converter, levels: Mapping[Any, int], *, field: str = "resolution") -> Converter:
    """Make a converter to a ratio and the tier (`1K`, `2K`) that holds the asked number of pixels.

    `levels` maps a provider's word to the side, in pixels, of a square of that tier, in any order.
    The tier is the one whose side is nearest to the square root of the area, by ratio.

    >>> tiers(ratio(["1:1", "3:2"]), {"1K": 1024, "2K": 2048})("1536x1024")
    {'aspect_ratio': '3:2', 'resolution': '1K'}
    """
    sides = {word: log(side) for word, side in levels.items()}

    def convert(width: int, height: int) -> Fields:
        made = ratios.convert(width, height)
        side = log(width * height) / 2
        tier = min(sides, key=lambda word: abs(sides[word] - side))
        return type(made)({**made, field: tier})

    return Converter(
        f"{ratios.description}; and the nearest of {', '.join(map(str, levels))}", convert
    )


def pixels(  # noqa: PLR0913 - these are the ways in which providers bound a size
    *,
    low: int,
    high: int,
    step: int = 1,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    max_ratio: float | None = None,
    width: str = "width",
    height: str = "height",
    combined: str = "",
    separator: str = "x",
) -> Converter:
    """Make a converter to width and height fields, kept in bounds with the ratio kept.

    A side is `low` to `high` pixels and a multiple of `step`; the picture has at least `least` and
    at most `most` pixels; its longer side is cut to `widest` times the shorter. With `joined` it is
    one field of that name, the sides joined by `cross`.

    >>> pixels(low=256, high=1440, step=32)("1792x1024")
    {'width': 1440, 'height': 832}
    >>> pixels(low=512, high=4096, min_pixels=2048 * 2048, combined="size", separator="*")("1024x1024")
    {'size': '2048*2048'}
    >>> pixels(low=1, high=8192, max_ratio=3)("2000x500")
    {'width': 1500, 'height': 500}
    """

    def convert(asked_width: int, asked_height: int) -> Fields:
        w: float = min(asked_width, asked_height * max_ratio) if max_ratio else asked_width
        h: float = min(asked_height, asked_width * max_ratio) if max_ratio else asked_height
        scale = min(1.0, high / max(w, h), sqrt(max_pixels / (w * h)) if max_pixels else 1.0)
        if min_pixels and w * h * scale * scale < min_pixels:
            scale = sqrt(min_pixels / (w * h))
        if min(w, h) * scale < low:
            scale = low / min(w, h)
        w, h = _snap(w * scale, low, high, step), _snap(h * scale, low, high, step)
        if (
            max_pixels and w * h > max_pixels
        ):  # by rounding up, or because one side had to grow to `low`
            side = _snap(max_pixels // min(w, h), low, high, step, rounded=floor)
            w, h = min(w, side), min(h, side)
        if max_ratio:  # by rounding the shorter side down
            side = _snap(min(w, h) * max_ratio, low, high, step, rounded=floor)
            w, h = min(w, side), min(h, side)
        while min_pixels and w * h < min_pixels and min(w, h) + step <= high:  # by rounding down
            w, h = (w + step, h) if w <= h else (w, h + step)
        made = {combined: f"{w}{separator}{h}"} if combined else {width: w, height: h}
        return made if (w, h) == (asked_width, asked_height) else Approximation(made)

    sides = f"each side {_format_range(low, high if high < _UNBOUNDED else None)}"
    by = f" in steps of {step}" if step > 1 else ""
    area = (
        f", {_format_range(min_pixels, max_pixels)} pixels in all"
        if min_pixels or max_pixels
        else ""
    )
    kept = f"the ratio kept up to {max_ratio:g}:1" if max_ratio else "the ratio kept"
    return Converter(f"pixels, {sides}{by}{area}, {kept}", convert)


def nearest_size(sizes: Iterable[str], *, field: str = "size", separator: str = "x") -> Converter:
    """Make a converter to the nearest of a list of sizes: the ratio first, then the area.

    >>> nearest_size(["1024x1024", "1344x768"])("1792x1024")
    {'size': '1344x768'}
    """
    return _to_nearest(sizes, lambda w, h: {field: f"{w}{separator}{h}"})


def nearest_sides(
    sizes: Iterable[str], *, width: str = "width", height: str = "height"
) -> Converter:
    """Make a converter to the nearest of a list of sizes, as width and height fields.

    >>> nearest_sides(["1024x1024", "1344x768"])("1792x1024")
    {'width': 1344, 'height': 768}
    """
    return _to_nearest(sizes, lambda w, h: {width: w, height: h})


def _to_nearest(sizes: Iterable[str], written: Callable[[int, int], Fields]) -> Converter:
    offered = [found for size in sizes if (found := parse_size(size))]

    def convert(width: int, height: int) -> Fields:
        wanted, area = _log_ratio(width, height), log(width * height)
        found = min(
            offered,
            key=lambda it: (
                round(abs(_log_ratio(*it) - wanted), 3),
                abs(log(it[0] * it[1]) - area),
            ),
        )
        made = written(*found)
        return made if found == (width, height) else Approximation(made)

    return Converter(f"the nearest of {', '.join(f'{w}x{h}' for w, h in offered)}", convert)


_UNBOUNDED = 99_999
"""The longest side that a client can ask for."""
_SAME = 0.001
"""How far apart two ratios may be, by `_quotient`, and count as the same."""


def _format_range(low: int | None, high: int | None) -> str:
    if low and high:
        return f"{low:,} to {high:,}"
    return f"at most {high:,}" if high else f"at least {low:,}"


def _ratio_of(choice: str) -> float:
    width, _, height = choice.partition(":")
    return log(float(width) / float(height))


def _log_ratio(width: int, height: int) -> float:
    """Put a ratio on a scale where twice as wide and twice as tall are equally far from square."""
    return log(width / height)


def _snap(
    side: float, low: int, high: int, step: int, *, rounded: Callable[[float], int] = round
) -> int:
    """Bring a side to a multiple of `step` within bounds."""
    least = -(-low // step) * step
    ceiling = high // step * step
    return max(least, min(ceiling, rounded(side / step) * step))
