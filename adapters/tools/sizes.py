"""Converters of OpenAI's `size` (`WIDTHxHEIGHT` or `auto`) to the fields of other providers.

Each function returns a converter for `Param("size", convert=…)`. A converter returns the provider's
fields: `{}` drops the size, an `Approximation` has another ratio or, if pixels are sent, another
number of pixels.

    ratio           the nearest of a list of ratios
    reduced_ratio   the exact ratio, for providers that accept any
    tiers           a ratio and a resolution tier (`1K`, `2K`)
    pixels          width and height within bounds
    nearest_size    the nearest of a list of sizes, as one field
    nearest_sides   the nearest of a list of sizes, as width and height
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import floor, gcd, log, sqrt
from typing import Any

from adapters.table.param import Approximation

Fields = dict[str, Any]

# OpenAI's landscape 1792x1024 is exactly 7:4 but intended as 16:9.
_INTENDED = {(1792, 1024): (16, 9), (1024, 1792): (9, 16)}


@dataclass(frozen=True, slots=True)
class Converter:
    """A converter of sizes; `description` is for the documentation."""

    description: str
    convert: Callable[[int, int], Fields]

    def __call__(self, size: str) -> Fields:
        """Return the fields for a size, {} for `auto`."""
        sides = parse_size(size)
        return self.convert(*sides) if sides else {}


def parse_size(size: str) -> tuple[int, int] | None:
    """Return width and height of `WxH`, None for `auto`.

    >>> parse_size("1536x1024"), parse_size("auto")
    ((1536, 1024), None)
    """
    width, cross, height = size.lower().partition("x")
    return (int(width), int(height)) if cross else None


def ratio(choices: Iterable[str] | Mapping[str, Any], *, field: str = "aspect_ratio") -> Converter:
    """Return a converter to the nearest of the ratios `W:H` that a provider offers.

    `choices` can be a mapping from `W:H` to the provider's name of it.

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
        return (
            made if abs(offered[found] - log(width / height)) < _TOLERANCE else Approximation(made)
        )

    return Converter(f"the nearest ratio of {', '.join(words)}", convert)


def reduced_ratio(*, field: str = "aspect_ratio", max_ratio: float = 21 / 9) -> Converter:
    """Return a converter to the reduced ratio, for providers that accept any `W:H`.

    A wider or taller ratio than `max_ratio` becomes `max_ratio`.

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
    """Return a converter to a ratio and the resolution tier (`1K`, `2K`) nearest in area.

    `levels` maps the provider's name of each tier to the side in pixels of a square of that tier.

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


def pixels(  # noqa: PLR0913 - the ways in which providers limit a size
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
    """Return a converter to width and height within bounds, with the ratio kept.

    A side is `low` to `high` pixels and a multiple of `step`. The image has `min_pixels` to
    `max_pixels` pixels. The longer side is at most `max_ratio` times the shorter. With `combined`,
    the result is one field of that name: both sides, joined by `separator`.

    >>> pixels(low=256, high=1440, step=32)("1792x1024")
    {'width': 1440, 'height': 832}
    >>> convert = pixels(low=512, high=4096, min_pixels=2048**2, combined="size", separator="*")
    >>> convert("1024x1024")
    {'size': '2048*2048'}
    >>> pixels(low=1, high=8192, max_ratio=3)("2000x500")
    {'width': 1500, 'height': 500}
    """

    def convert(from_width: int, from_height: int) -> Fields:
        w: float = min(from_width, from_height * max_ratio) if max_ratio else from_width
        h: float = min(from_height, from_width * max_ratio) if max_ratio else from_height
        scale = min(1.0, high / max(w, h), sqrt(max_pixels / (w * h)) if max_pixels else 1.0)
        if min_pixels and w * h * scale * scale < min_pixels:
            scale = sqrt(min_pixels / (w * h))
        if min(w, h) * scale < low:
            scale = low / min(w, h)
        w, h = _snap(w * scale, low, high, step), _snap(h * scale, low, high, step)
        if max_pixels and w * h > max_pixels:  # after rounding up, or raising a side to `low`
            side = _snap(max_pixels // min(w, h), low, high, step, rounded=floor)
            w, h = min(w, side), min(h, side)
        if max_ratio:  # after rounding the shorter side down
            side = _snap(min(w, h) * max_ratio, low, high, step, rounded=floor)
            w, h = min(w, side), min(h, side)
        while min_pixels and w * h < min_pixels and min(w, h) + step <= high:  # after rounding down
            w, h = (w + step, h) if w <= h else (w, h + step)
        made = {combined: f"{w}{separator}{h}"} if combined else {width: w, height: h}
        return made if (w, h) == (from_width, from_height) else Approximation(made)

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
    """Return a converter to the nearest of a list of sizes, by ratio, then by area.

    >>> nearest_size(["1024x1024", "1344x768"])("1792x1024")
    {'size': '1344x768'}
    """
    return _to_nearest(sizes, lambda w, h: {field: f"{w}{separator}{h}"})


def nearest_sides(
    sizes: Iterable[str], *, width: str = "width", height: str = "height"
) -> Converter:
    """Return a converter to the nearest of a list of sizes, as width and height fields.

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
"""The longest side that a client can request."""
_TOLERANCE = 0.001
"""Maximum difference of two equal ratios, as `_log_ratio`."""


def _format_range(low: int | None, high: int | None) -> str:
    if low and high:
        return f"{low:,} to {high:,}"
    return f"at most {high:,}" if high else f"at least {low:,}"


def _ratio_of(choice: str) -> float:
    width, _, height = choice.partition(":")
    return log(float(width) / float(height))


def _log_ratio(width: int, height: int) -> float:
    """Return the ratio on a logarithmic scale, on which 2:1 and 1:2 are equally far from 1:1."""
    return log(width / height)


def _snap(
    side: float, low: int, high: int, step: int, *, rounded: Callable[[float], int] = round
) -> int:
    """Return the nearest multiple of `step` within bounds."""
    lowest = -(-low // step) * step
    highest = high // step * step
    return max(lowest, min(highest, rounded(side / step) * step))
