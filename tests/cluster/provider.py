"""The provider, in a process of its own. It counts the calls it would charge.

    python -m tests.cluster.provider PORT

An image contains its prompt. `GET /calls` returns the number of paid calls for each prompt.
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


def image_for(prompt: str) -> str:
    """Return the image of a prompt, in base64."""
    content = _PNG + prompt.encode()
    return base64.b64encode(content.ljust(_BYTES, b"\0")).decode()


class Provider:
    """Generates images and counts calls by prompt."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._random = random.Random(8)  # noqa: S311 - the same delays in every run

    async def generate(self, request: web.Request) -> web.Response:
        """Answer with an image after a random delay."""
        prompt = orjson.loads(await request.read())["prompt"]
        self.calls[prompt] += 1
        await asyncio.sleep(self._random.uniform(_FASTEST, _SLOWEST))
        body = orjson.dumps({"created": 1, "data": [{"b64_json": image_for(prompt)}]})
        return web.Response(body=body, content_type="application/json")

    async def report_calls(self, request: web.Request) -> web.Response:
        """Return the number of calls for each prompt."""
        del request
        return web.Response(body=orjson.dumps(self.calls), content_type="application/json")


def main() -> None:
    """Run until the process is stopped."""
    provider = Provider()
    # A call is finished even if the gateway disconnects, because it has been paid for.
    app = web.Application()
    app.router.add_post("/v1/images/generations", provider.generate)
    app.router.add_get("/calls", provider.report_calls)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=lambda _: None)


if __name__ == "__main__":
    main()
