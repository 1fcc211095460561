"""The parameters of one attempt: the client's, with a target's defaults, overrides and drops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.routing.plan import Target
from proxy.settings.paths import Path, parse_path


def final_params(params: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Return the parameters with a target's defaults and overrides, without those that it drops.

    The prefix `@slug/` is removed from the model if it names the target's virtual key.
    """
    final = {**target.default_params, **params, **target.override_params}
    for path in target.drop_params:
        final = drop_path(final, path)
    model, prefix = final.get("model"), f"@{target.virtual_key}/"
    if target.virtual_key and isinstance(model, str) and model.startswith(prefix):
        final["model"] = model[len(prefix) :]
    return final


def drop_path(params: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a copy without the value at a path (`a.b[0].c`, `[*]` for every item).

    >>> drop_path({"user": "u", "input": [{"a": 1, "b": 2}]}, "input[*].a")
    {'user': 'u', 'input': [{'b': 2}]}
    """
    copied: dict[str, Any] = _drop(params, parse_path(path))
    return copied


def _drop(tree: Any, steps: Path) -> Any:
    if not steps:
        return tree
    step, rest = steps[0], steps[1:]
    if isinstance(tree, dict) and step in tree:
        if rest:
            return {**tree, step: _drop(tree[step], rest)}
        return {key: value for key, value in tree.items() if key != step}
    if isinstance(tree, list) and (step == "*" or isinstance(step, int)):
        chosen = range(len(tree)) if step == "*" else [step]
        if not rest:
            return [item for i, item in enumerate(tree) if i not in chosen]
        return [_drop(item, rest) if i in chosen else item for i, item in enumerate(tree)]
    return tree
