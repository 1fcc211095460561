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
    "aimlapi",
    "automatic1111",
    "azure-ai",
    "azure-openai",
    "bedrock",
    "black-forest-labs",
    "bria",
    "byteplus",
    "comfyui",
    "dashscope",
    "deepbricks",
    "deepinfra",
    "fal-ai",
    "fireworks-ai",
    "freepik",
    "getimg",
    "google",
    "huggingface",
    "hyperbolic",
    "ideogram",
    "invokeai",
    "krea",
    "lemonfox-ai",
    "leonardo",
    "luma",
    "minimax",
    "monsterapi",
    "nebius",
    "novita-ai",
    "nscale",
    "openai",
    "openrouter",
    "prodia",
    "recraft-ai",
    "replicate",
    "runware",
    "sandbox",
    "segmind",
    "siliconflow",
    "stability-ai",
    "tencent",
    "together-ai",
    "vertex-ai",
    "workers-ai",
    "x-ai",
    "zhipu",
)
"""Every provider id, alphabetical. The module of `a-b` is `a_b`."""

ALIASES: dict[str, str] = {
    "ark": "byteplus",
    "aws-bedrock": "bedrock",
    "bfl": "black-forest-labs",
    "cloudflare-workers-ai": "workers-ai",
    "fal": "fal-ai",
    "forge": "automatic1111",
    "gemini": "google",
    "google-gemini": "google",
    "google-vertex-ai": "vertex-ai",
    "novita": "novita-ai",
    "tencent-hunyuan": "tencent",
    "xai": "x-ai",
    "z-ai": "zhipu",
}
"""Other names for them."""

DEMO = "sandbox"
"""The provider that works offline and without a key: what a first picture is asked of."""

NAMES: frozenset[str] = frozenset(PROVIDERS) | frozenset(ALIASES)
"""Every name a client may use."""


@cache
def get_adapter(name: str) -> Adapter:
    """Give the adapter of a provider by its id or an alias; `KeyError` for any other name."""
    if name not in NAMES:
        raise KeyError(name)
    module = import_module("adapters.providers." + ALIASES.get(name, name).replace("-", "_"))
    return cast("Adapter", module.ADAPTER)
