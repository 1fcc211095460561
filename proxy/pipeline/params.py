"""The parameters of one attempt: the client's, with a target's defaults, overrides and drops."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from proxy.routing.plan import Target
from proxy.settings.paths import Path, parse_path

_EVERY_ITEM = "*"
_DROPPED = object()
"""Stands for a value that is dropped, while a copy without it is made."""
_CACHED_PATH_LISTS = 32
_BASE64_WORDS = ("base64", "b64")
"""What some providers call the response format `b64_json`."""


def final_params(params: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Return the parameters with a target's defaults and overrides, without those that it drops.

    The prefix `@slug/` is removed from the model if it names the target's virtual key; `@slug`
    alone leaves the model to the server.
    """
    return _finish({**target.default_params, **params, **target.override_params}, target)


def final_model(params: Mapping[str, Any], target: Target) -> Any:
    """Return the model of `final_params`, None if there is none, without making the others."""
    for source in (target.override_params, params, target.default_params):
        if "model" in source:
            return _finish({"model": source["model"]}, target).get("model")
    return None


def _finish(final: dict[str, Any], target: Target) -> dict[str, Any]:
    if target.drop_params:
        final = drop_paths(final, target.drop_params)
    if final.get("response_format") in _BASE64_WORDS:
        final["response_format"] = "b64_json"
    model, prefix = final.get("model"), f"@{target.virtual_key}/"
    if target.virtual_key and isinstance(model, str):
        if model.startswith(prefix):
            final["model"] = model[len(prefix) :]
        elif model == prefix[:-1]:
            del final["model"]
    return final


def drop_paths(params: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return the parameters without the values at some paths (`a.b[0].c`, `[*]` for every item).

    Every path refers to the parameters as they are given. One walk serves all paths, and only
    objects and lists that lose something are copied.

    >>> drop_paths({"user": "u", "input": [{"a": 1, "b": 2}]}, ["input[*].a", "input[0].b"])
    {'user': 'u', 'input': [{}]}
    """
    left: dict[str, Any] = _without(params, _Drops(_parse_paths(tuple(paths))))
    return left


@lru_cache(_CACHED_PATH_LISTS)
def _parse_paths(paths: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(filter(None, map(parse_path, paths)))


class _Drops:
    """What some paths drop below one value.

    `steps` are the paths' first steps, each with the rest of its paths. What they drop further
    down is computed once per step, however many items of a list it applies to.
    """

    __slots__ = ("_below", "steps")

    def __init__(self, paths: Iterable[Path]) -> None:
        self.steps: dict[str | int, list[Path]] = {}
        self._below: dict[str | int, _Drops | None] = {}
        for first, *rest in paths:
            self.steps.setdefault(first, []).append(tuple(rest))

    def indices(self, length: int) -> Collection[int]:
        """Return which items of a list of this length the paths lead to."""
        if _EVERY_ITEM in self.steps:
            return range(length)
        return [step for step in self.steps if isinstance(step, int) and step < length]

    def below(self, step: str | int) -> _Drops | None:
        """Return what is dropped below the value at a key or an index; None if it is dropped."""
        step = step if step in self.steps else _EVERY_ITEM
        if step not in self._below:
            paths = self.steps[step]
            if isinstance(step, int):
                paths = paths + self.steps.get(_EVERY_ITEM, [])
            self._below[step] = _Drops(paths) if all(paths) else None
        return self._below[step]


def _without(value: Any, drops: _Drops | None) -> Any:
    """Return a value without what is dropped, the same object if it loses nothing."""
    if drops is None:
        return _DROPPED
    if isinstance(value, dict):
        changed = _changed(value, drops.steps.keys() & value.keys(), drops)
        if not changed:
            return value
        return {key: it for key, it in {**value, **changed}.items() if it is not _DROPPED}
    if isinstance(value, list):
        changed = _changed(value, drops.indices(len(value)), drops)
        if not changed:
            return value
        return [it for i, old in enumerate(value) if (it := changed.get(i, old)) is not _DROPPED]
    return value


def _changed(value: Any, steps: Iterable[Any], drops: _Drops) -> dict[Any, Any]:
    """Return what takes the place of the values at some steps, if they lose something."""
    after = {step: _without(value[step], drops.below(step)) for step in steps}
    return {step: it for step, it in after.items() if it is not value[step]}
