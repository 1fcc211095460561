"""GET /, /healthz and /readyz: name and version, liveness, readiness."""

from __future__ import annotations

import orjson
from aiohttp import web

from proxy import __version__
from proxy.context import DRAINING, STRATEGIES
from proxy.middlewares.auth import authenticate
from proxy.reload.live_settings import LIVE_SETTINGS
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.plan import SAVED_SCOPE
from proxy.routing.strategies import circuit_location, circuit_owner


async def root(request: web.Request) -> web.Response:
    """Respond with the name, the version and the path of the image endpoint."""
    del request
    return _json({"name": "easel", "version": __version__, "images": "/v1/images/generations"})


async def healthz(request: web.Request) -> web.Response:
    """Respond with 200 as long as the process runs."""
    del request
    return _json({"status": "ok", "version": __version__})


async def readyz(request: web.Request) -> web.Response:
    """Respond with 200 while new requests are accepted, 503 once the node shuts down.

    With `?verbose` and a gateway key, the response also has the settings' version, the result of
    their last reload, and the circuits that are not closed, by config and target; of other callers'
    own circuits none.
    """
    stopping = bool(request.app[DRAINING])
    body: dict[str, object] = {"status": "stopping" if stopping else "ready"}
    if "verbose" in request.query:
        # The names of configs are shown to authenticated callers only.
        caller = authenticate(request.headers, request[SNAPSHOT].settings.api_keys)
        body["settings"] = request.app[LIVE_SETTINGS].as_object()
        body["circuits"] = _open_circuits(request, caller.name)
    return _json(body, status=503 if stopping else 200)


def _open_circuits(request: web.Request, caller: str) -> dict[str, str]:
    """Return the circuits that are not closed: those that all share, and the caller's own.

    Those of saved configs that no longer exist are left out.
    """
    states = request.app[STRATEGIES].circuits.states()
    there = tuple(f"{SAVED_SCOPE}{name}:" for name in request[SNAPSHOT].settings.configs)
    return {
        circuit_location(name): state
        for name, state in states.items()
        if circuit_owner(name) in ("", caller)
        and (not name.startswith(SAVED_SCOPE) or name.startswith(there))
    }


def _json(body: object, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
