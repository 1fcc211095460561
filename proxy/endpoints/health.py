"""GET /, /healthz and /readyz: what this is, whether it is alive, whether it takes requests."""

from __future__ import annotations

import orjson
from aiohttp import web

from proxy import __version__
from proxy.context import DRAINING, STRATEGIES
from proxy.middlewares.auth import authenticate
from proxy.reload.live_settings import LIVE_SETTINGS
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.resolver import SAVED_SCOPE
from proxy.routing.strategies import circuit_location


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

    With `?verbose`, and a gateway key, it says which settings are in force, how the last reload of
    them went, and which circuits are not closed, by config and target.
    """
    stopping = bool(request.app[DRAINING])
    said: dict[str, object] = {"status": "stopping" if stopping else "ready"}
    if "verbose" in request.query:
        # The names of configs are for callers only.
        authenticate(request.headers, request[SNAPSHOT].settings.api_keys)
        said["settings"] = request.app[LIVE_SETTINGS].as_object()
        said["circuits"] = _open_circuits(request)
    return _json(said, status=503 if stopping else 200)


def _open_circuits(request: web.Request) -> dict[str, str]:
    """Give the circuits that are not closed, by place; not those of saved configs that are gone."""
    states = request.app[STRATEGIES].circuits.states()
    there = tuple(f"{SAVED_SCOPE}{name}:" for name in request[SNAPSHOT].settings.configs)
    return {
        circuit_location(name): state
        for name, state in states.items()
        if not name.startswith(SAVED_SCOPE) or name.startswith(there)
    }


def _json(body: object, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
