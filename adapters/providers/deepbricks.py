"""Deepbricks: OpenAI's Images API with the DALL-E models, on another host.

    POST {base}/images/generations      JSON -> JSON

>>> from adapters.contract import ImageCall
>>> params = {"model": "dall-e-3", "prompt": "a cube", "style": "vivid", "background": "opaque"}
>>> made = ADAPTER.table_for("dall-e-3").translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model': 'dall-e-3', 'prompt': 'a cube', 'style': 'vivid'}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from adapters import errors
from adapters.bases.openai_compatible import STANDARD_OR_HD, OpenAICompatible
from adapters.bases.openai_passthrough import MODERATION_CODES
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes

_ROWS = (
    Param("prompt"),
    Param("size", convert=sizes.pixels(low=1, high=99_999, combined="size")),
    Param("quality", convert=STANDARD_OR_HD),
    Param("style"),
    Param("response_format"),
    Param("user"),
)
_DALL_E_2 = Table((*_ROWS, Param("n", high=10)))


class Deepbricks(OpenAICompatible):
    """Deepbricks. OpenAI has retired its models; only DALL-E 2 supports `n` above 1."""

    id = "deepbricks"
    name = "Deepbricks"
    base_url = "https://api.deepbricks.ai/v1"
    docs = "https://deepbricks.ai"
    tables_by_model = (("dall-e-2", _DALL_E_2), ("", Table(_ROWS)))
    models = ("dall-e-3", "dall-e-2")
    url_lifetime = 600
    confidence = "low"
    experimental = True
    status_by_code: ClassVar[Mapping[str, int]] = {
        **dict.fromkeys(MODERATION_CODES, errors.REFUSED),
        "insufficient_quota": 402,
    }
    unconfirmed = (
        "whether the service and its two models still exist; all limits; whether it uses OpenAI's "
        "code for an account without credit; how long URLs last"
    )


ADAPTER = Deepbricks()
