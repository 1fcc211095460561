"""The small endpoints: is it alive, is it ready, what models are there."""

from __future__ import annotations

import orjson
from aiohttp import web

from proxy import __version__
from proxy.keys import CHOOSER, DRAINING, SETTINGS
from proxy.middlewares.auth import identified


async def root(request: web.Request) -> web.Response:
    """GET /: say what this is."""
    del request
    return _json({"name": "easel", "version": __version__, "images": "/v1/images/generations"})


async def healthz(request: web.Request) -> web.Response:
    """GET /healthz: 200 as long as the process can answer at all."""
    del request
    return _json({"status": "ok", "version": __version__})


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: 200 while new requests are welcome, 503 once the node is stopping.

    With `?verbose`, and a gateway key, it says which circuits are not closed, by config and target.
    """
    stopping = bool(request.app[DRAINING])
    said: dict[str, object] = {"status": "stopping" if stopping else "ready"}
    if "verbose" in request.query:
        # The names of configs are for callers only.
        identified(request.headers, request.app[SETTINGS].api_keys)
        said["circuits"] = request.app[CHOOSER].circuits.states()
    return _json(said, status=503 if stopping else 200)


async def models(request: web.Request) -> web.Response:
    """GET /v1/models: what can be asked for by model name alone, as `@slug/model`."""
    entries = [
        {
            "id": f"@{slug}/{model}",
            "object": "model",
            "created": 0,
            "owned_by": virtual_key.adapter.id,
        }
        for slug, virtual_key in sorted(request.app[SETTINGS].virtual_keys.items())
        for model in virtual_key.adapter.models
    ]
    return _json({"object": "list", "data": entries})


def _json(body: object, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
