"""DeepInfra: OpenAI's endpoint, always base64.

    POST {base}/images/generations      {"model", "prompt", "n", "size"} -> {"data": [{"b64_json"}]}

DeepInfra ignores `quality`, `style` and `user`, so they are not sent and the receipt says so.

>>> asked = {"prompt": "a cube", "size": "1792x1024", "quality": "hd"}
>>> made = ADAPTER.table_for("black-forest-labs/FLUX-2-dev").translate(asked)
>>> made.fields, str(made.receipt)
({'prompt': 'a cube', 'size': '1792x1024'}, 'dropped quality=hd')
"""

from __future__ import annotations

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes

_TABLE = Table(
    (
        Param("prompt"),
        Param("n", high=4),
        # The sizes depend on the model; the provider refuses others.
        Param("size", convert=sizes.pixels(low=1, high=99_999, combined="size")),
    )
)


class DeepInfra(OpenAICompatible):
    """Image models on DeepInfra."""

    id = "deepinfra"
    name = "DeepInfra"
    base_url = "https://api.deepinfra.com/v1/openai"
    docs = "https://deepinfra.com/black-forest-labs/FLUX-2-dev/api"
    tables_by_model = (("", _TABLE),)
    models = (
        "black-forest-labs/FLUX-2-dev",
        "black-forest-labs/FLUX-2-klein-4b",
        "black-forest-labs/FLUX-2-max",
        "black-forest-labs/FLUX-1.1-pro",
        "black-forest-labs/FLUX-pro",
        "black-forest-labs/FLUX-1-dev",
        "black-forest-labs/FLUX-1-schnell",
        "stabilityai/sd3.5",
        "stabilityai/sdxl-turbo",
        "run-diffusion/Juggernaut-Flux",
        "run-diffusion/Juggernaut-Lightning-Flux",
    )
    confidence = "medium"
    refusal_pattern = errors.REFUSAL_WORDS
    unconfirmed = (
        "the sizes of each model; more than 4 images per call; seed and steps on this endpoint; "
        "the wording of refusals; Retry-After on a 429"
    )


ADAPTER = DeepInfra()
