"""Paths into JSON or YAML, such as `targets[0].cache`: a step is a key or an index of a list."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,9}|\*)\]")


def parse_path(path: str) -> Path:
    """Split a path into its steps; `[*]`, every item of a list, becomes the step `*`.

    >>> parse_path("targets[0].cache"), parse_path("input[*].a")
    (('targets', 0, 'cache'), ('input', '*', 'a'))
    """
    steps = _STEP.findall(path)
    return tuple(key or (index if index == "*" else int(index)) for key, index in steps)


def format_path(path: Path) -> str:
    """Write a path as text.

    >>> format_path(("configs", "pc-1", "targets", 0, "retry"))
    'configs.pc-1.targets[0].retry'
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text
