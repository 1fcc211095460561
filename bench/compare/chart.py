"""Renders curves as SVG, one panel each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_WIDE, _HIGH, _EDGE = 320, 220, 48

Curve = Sequence[tuple[float, float]]


def draw(panels: Mapping[str, Curve], unit: str) -> str:
    """Return an SVG of panels; the horizontal axis is logarithmic, the vertical starts at 0."""
    whole = _WIDE * len(panels)
    inner = "".join(
        f'<g transform="translate({at * _WIDE},0)">{_panel(title, curve, unit)}</g>'
        for at, (title, curve) in enumerate(panels.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {_HIGH}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect width="{whole}" height="{_HIGH}" fill="white"/>{inner}</svg>\n'
    )


def _panel(title: str, curve: Curve, unit: str) -> str:
    most = max(y for _, y in curve) * 1.2
    low, high = (math.log10(curve[at][0]) for at in (0, -1))
    places = [
        (
            _EDGE + (math.log10(x) - low) / (high - low) * (_WIDE - 2 * _EDGE),
            _HIGH - _EDGE - y / most * (_HIGH - 2 * _EDGE),
        )
        for x, y in curve
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
        f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{value:.0f}</text>'
        f'<text x="{x:.1f}" y="{_HIGH - _EDGE + 16}" text-anchor="middle">{amount:,.0f}</text>'
        for (x, y), (amount, value) in zip(places, curve, strict=True)
    )
    floor = _HIGH - _EDGE
    return (
        f'<text x="{_WIDE / 2}" y="20" text-anchor="middle" font-weight="bold">{title}</text>'
        f'<text x="{_WIDE / 2}" y="36" text-anchor="middle">{unit}</text>'
        f'<path d="M{_EDGE},{floor}H{_WIDE - _EDGE}" stroke="gray"/>'
        f'<polyline points="{path}" fill="none" stroke="black"/>{marks}'
    )
