"""The largest images of the sandbox, many at once. The honest caller draws small ones."""

from __future__ import annotations

import orjson

from .attacker import Attacker
from .storm import HonestRequest, Storm

_SANDBOX = {"x-portkey-virtual-key": "box"}


def _small_drawing(number: int, provider: str) -> HonestRequest:
    del number, provider
    return HonestRequest(_SANDBOX, {"size": "64x64"})


async def _flood(attacker: Attacker) -> None:
    async def send(number: int) -> str:
        body: dict[str, object] = {"prompt": f"{number}", "size": "3840x2160"}
        body |= {"stream": True, "partial_images": 3} if number % 2 else {}
        return await attacker.post(number, orjson.dumps(body), _SANDBOX)

    await attacker.flood(send, rate=10, at_once=32)


STORM = Storm(
    "drawing",
    "images of 3840x2160 from the sandbox, half of them with 3 partial images, 32 at once",
    _flood,
    refusals=frozenset({"503"}),
    allowed=frozenset({"200"}),
    memory_mb=96,
    honest=_small_drawing,
)
