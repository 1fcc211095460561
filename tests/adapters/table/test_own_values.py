"""Values that a provider documents under one of OpenAI's own parameter names."""

from __future__ import annotations

from typing import Any

import pytest

from adapters import get_adapter
from adapters.errors import BadParam
from adapters.table.table import Table, UnsupportedPolicy

OWN = (
    ("recraft-ai", "recraftv3", {"style": "digital_illustration"}),
    ("recraft-ai", "recraftv4_1", {"size": "16:9"}),
    ("recraft-ai", "recraftv4_1_vector", {"size": "6:10"}),
    ("byteplus", "seedream-4-0-250828", {"size": "2K"}),
    ("openrouter", "bytedance-seed/seedream-4.5", {"size": "4K"}),
    ("minimax", "image-01-live", {"style": {"style_type": "a word", "style_weight": 0.5}}),
    ("minimax", "MiniMax-H3-Image", {"output_format": "jpg"}),
    ("together-ai", "black-forest-labs/FLUX.1-schnell", {"response_format": "base64"}),
    ("getimg", "flux-schnell", {"response_format": "b64"}),
    ("replicate", "black-forest-labs/flux-schnell", {"output_format": "jpg"}),
    ("replicate", "recraft-ai/recraft-v3", {"style": "realistic_image"}),
    ("fal-ai", "fal-ai/recraft/v3/text-to-image", {"style": "vector_illustration/line_art"}),
    ("segmind", "flux-schnell", {"quality": 90}),
)
NESTED = (
    ("bedrock", "amazon.nova-canvas-v1:0", {"quality": "premium"}),
    ("dashscope", "wan2.2-t2i-flash", {"size": "1024*768"}),
)
"""Values whose field lies deeper in the body."""

CONVERTED = (
    ("recraft-ai", "recraftv3", {"style": "vivid"}, None),
    ("byteplus", "seedream-4-0-250828", {"size": "1024x1024"}, "1024x1024"),
    ("together-ai", "any", {"response_format": "b64_json"}, "base64"),
    ("replicate", "black-forest-labs/flux-dev", {"output_format": "jpeg"}, "jpg"),
)
REFUSED: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("recraft-ai", "recraftv3", {"style": "digital"}, "digital_illustration"),
    ("byteplus", "seedream-4-0-250828", {"size": "8K"}, "1K, 2K, 4K"),
    ("stability-ai", "sd3.5-large", {"style": "analog-film"}, "vivid, natural"),
    ("recraft-ai", "recraftv4_1", {"moderation": True}, "a string"),
    ("together-ai", "any", {"response_format": "png"}, "base64"),
    ("bedrock", "amazon.nova-canvas-v1:0", {"quality": "best"}, "premium"),
)
"""Values of neither, and words that the message names."""


def table_of(provider: str, model: str) -> Table:
    return get_adapter(provider).table_for(model)


@pytest.mark.parametrize("policy", list(UnsupportedPolicy))
def test_a_providers_own_value_is_sent_as_it_is(policy: UnsupportedPolicy) -> None:
    for provider, model, params in OWN:
        [(name, value)] = params.items()
        made = table_of(provider, model).translate({"prompt": "a cube", **params}, policy)
        assert made.fields[name] == value, (provider, params)
        assert name not in str(made.receipt), (provider, str(made.receipt))


def test_a_nested_field_takes_its_own_value_too() -> None:
    for provider, model, params in NESTED:
        [(name, value)] = params.items()
        fields = table_of(provider, model).translate({"prompt": "a cube", **params}).fields
        assert value in [inner.get(name) for inner in fields.values() if isinstance(inner, dict)]


def test_openais_values_are_converted_as_before() -> None:
    for provider, model, params, sent in CONVERTED:
        fields = table_of(provider, model).translate({"prompt": "a cube", **params}).fields
        assert fields.get(*params) == sent, (provider, params)


def test_a_value_of_neither_is_refused_with_both_lists() -> None:
    for provider, model, params, words in REFUSED:
        with pytest.raises(BadParam, match=words) as caught:
            table_of(provider, model).translate({"prompt": "a cube", **params})
        assert [caught.value.param] == list(params), provider


def test_under_strict_two_names_of_one_field_contradict() -> None:
    both = {"prompt": "a cube", "style": "any", "style_preset": "realistic_image"}
    with pytest.raises(BadParam, match="style"):
        table_of("recraft-ai", "recraftv3").translate(both, UnsupportedPolicy.STRICT)
