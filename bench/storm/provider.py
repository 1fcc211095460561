"""The honest caller's provider: another image for each call, and a count of calls by prompt."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from aiohttp import web

SLOW = "slow"
"""What a prompt begins with whose image takes a while."""
_SECONDS = 0.2


def make_app() -> web.Application:
    """Return the provider. GET / returns the calls of each prompt."""
    calls: Counter[str] = Counter()

    async def answer(request: web.Request) -> web.Response:
        prompt = str((await request.json())["prompt"])
        calls[prompt] += 1
        image = f"{sum(calls.values()):012}".ljust(1000, "A")
        if prompt.startswith(SLOW):
            await asyncio.sleep(_SECONDS)
        return web.json_response({"created": 1, "data": [{"b64_json": image}]})

    async def counts(request: web.Request) -> web.Response:
        del request
        return web.json_response(calls)

    app = web.Application()
    app.router.add_post("/v1/images/generations", answer)
    app.router.add_get("/", counts)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
