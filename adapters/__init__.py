"""Pure translators, one provider a file.

The law: standard library and orjson only; no I/O; nothing of `proxy`. A provider's module is
imported when it is first used.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from adapters.contract import Adapter

PROVIDERS: tuple[str, ...] = (
    "automatic1111",
    "azure-openai",
    "bedrock",
    "black-forest-labs",
    "comfyui",
    "fireworks-ai",
    "invokeai",
    "openai",
    "replicate",
    "sandbox",
    "stability-ai",
    "workers-ai",
)
"""Every provider id, alphabetical. The module of `a-b` is `a_b`."""

ALIASES: dict[str, str] = {
    "aws-bedrock": "bedrock",
    "bfl": "black-forest-labs",
    "cloudflare-workers-ai": "workers-ai",
    "forge": "automatic1111",
}
"""Other names for them."""

DEMO = "sandbox"
"""The provider that works offline and without a key: what a first picture is asked of."""

NAMES: frozenset[str] = frozenset(PROVIDERS) | frozenset(ALIASES)
"""Every name a client may use."""


@cache
def adapter(name: str) -> Adapter:
    """Give the adapter of a provider by its id or an alias; `KeyError` for any other name."""
    if name not in NAMES:
        raise KeyError(name)
    module = import_module("adapters." + ALIASES.get(name, name).replace("-", "_"))
    return cast("Adapter", module.ADAPTER)
