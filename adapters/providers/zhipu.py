"""Zhipu (Z.ai, BigModel): GLM-Image and CogView, close to OpenAI's format, one URL per call.

    POST {base}/images/generations      JSON -> JSON

The custom host for mainland China is https://open.bigmodel.cn/api/paas/v4

>>> from adapters.contract import ImageCall
>>> params = {"model": "glm-image", "prompt": "a cube", "size": "1536x1024", "quality": "low"}
>>> made = ADAPTER.table_for("glm-image").translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model': 'glm-image', 'prompt': 'a cube', 'size': '1536x1024', 'quality': 'standard'}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from adapters import errors
from adapters.bases.openai_compatible import STANDARD_OR_HD, OpenAICompatible
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes

_USER_LENGTH = range(6, 129)


def _user(name: str) -> dict[str, Any]:
    """Return the end user's id, if its length is allowed."""
    return {"user_id": name} if len(name) in _USER_LENGTH else {}


_COMMON = (
    Param("prompt"),
    Param("quality", convert=STANDARD_OR_HD),
    Param("user", "user_id", convert=_user),
    Param("user_id", low=_USER_LENGTH[0], high=_USER_LENGTH[-1]),
    Param("watermark_enabled", kind=bool, note="false only for accounts that signed an agreement"),
)
_GLM_SIZE = sizes.pixels(low=1024, high=2048, step=32, max_pixels=2**22, combined="size")
_COGVIEW_SIZE = sizes.pixels(low=512, high=2048, step=16, max_pixels=2**21, combined="size")


class Zhipu(OpenAICompatible):
    """Zhipu's image models: one image per call, as a URL."""

    id = "zhipu"
    name = "Zhipu AI"
    base_url = "https://api.z.ai/api/paas/v4"
    docs = "https://docs.z.ai/api-reference/image/generate-image"
    tables_by_model = (
        ("glm-image", Table((*_COMMON, Param("size", convert=_GLM_SIZE)))),
        ("", Table((*_COMMON, Param("size", convert=_COGVIEW_SIZE)))),
    )
    models = ("glm-image", "cogview-4-250304")
    url_lifetime = 86_400
    confidence = "medium"
    # https://docs.z.ai/api-reference/api-code
    status_by_code: ClassVar[Mapping[str, int]] = {
        **dict.fromkeys(("100", "1100"), 401),
        **dict.fromkeys(("111", "112"), 402),
        "1211": 404,
        "1220": 403,
        **dict.fromkeys(("1300", "1301"), errors.REFUSED),
        **dict.fromkeys(("1302", "1303", "1304", "1305"), 429),
        **dict.fromkeys(("1308", "1309", "131", "132"), 402),
    }
    unconfirmed = (
        "the status of each error code; how long URLs last (30 days in older documentation); "
        "whether every account may send watermark_enabled=false"
    )


ADAPTER = Zhipu()
