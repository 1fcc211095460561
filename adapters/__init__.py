"""Adapters: pure translation between OpenAI's image API and each provider's, one file a provider.

Adapters use the standard library and orjson only, do no I/O and import nothing from `proxy`. A
provider's module is imported on first use.
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
"""Other names a client may use for a provider."""

DEMO = "sandbox"
"""The provider that works offline and without a key, for first steps."""

NAMES: frozenset[str] = frozenset(PROVIDERS) | frozenset(ALIASES)
"""Every provider name a client may use: ids and aliases."""


@cache
def get_adapter(name: str) -> Adapter:
    """Return a provider's adapter by its id or an alias. Raises `KeyError` for any other name."""
    if name not in NAMES:
        raise KeyError(name)
    module = import_module("adapters.providers." + ALIASES.get(name, name).replace("-", "_"))
    return cast("Adapter", module.ADAPTER)
