"""The provider of the cluster, a process of its own: every call costs a picture.

    python -m tests.cluster.provider PORT

A picture shows what was asked for, in bytes. `GET /calls` tells how often each prompt was paid for.
"""

from __future__ import annotations

import asyncio
import base64
import random
import sys
from collections import Counter

import orjson
from aiohttp import web

_PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ")
_BYTES = 150_000
_FASTEST, _SLOWEST = 0.2, 1.2


def picture_of(prompt: str) -> str:
    """Give the picture that a prompt gets, in base64."""
    said = _PNG + prompt.encode()
    return base64.b64encode(said.ljust(_BYTES, b"\0")).decode()


class Paid:
    """Draws, and counts."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._chance = random.Random(8)  # noqa: S311 - the same delays in every run

    async def draw(self, request: web.Request) -> web.Response:
        """Draw a picture, which takes its time."""
        prompt = orjson.loads(await request.read())["prompt"]
        self.calls[prompt] += 1
        await asyncio.sleep(self._chance.uniform(_FASTEST, _SLOWEST))
        body = orjson.dumps({"created": 1, "data": [{"b64_json": picture_of(prompt)}]})
        return web.Response(body=body, content_type="application/json")

    async def told(self, request: web.Request) -> web.Response:
        """Tell how often each prompt was paid for."""
        del request
        return web.Response(body=orjson.dumps(self.calls), content_type="application/json")


def main() -> None:
    """Run until it is ended."""
    paid = Paid()
    # Nothing is lost to a client that leaves: it has been paid for.
    app = web.Application()
    app.router.add_post("/v1/images/generations", paid.draw)
    app.router.add_get("/calls", paid.told)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=lambda _: None)


if __name__ == "__main__":
    main()
