"""The small endpoints: is it alive, is it ready, what models are there."""

from __future__ import annotations

import orjson
from aiohttp import web

import adapters
from proxy import __version__
from proxy.cache.store import CACHE
from proxy.context import CALLER, DRAINING, STRATEGIES
from proxy.errors import GatewayError
from proxy.middlewares.auth import identified
from proxy.reload.live_settings import RELOADING
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.resolver import SAVED
from proxy.routing.strategies import place_of


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
        identified(request.headers, request[SNAPSHOT].settings.api_keys)
        said["settings"] = request.app[RELOADING].as_object()
        said["circuits"] = _circuits(request)
    return _json(said, status=503 if stopping else 200)


def _circuits(request: web.Request) -> dict[str, str]:
    """Give the circuits that are not closed, by place; not those of saved configs that are gone."""
    states = request.app[STRATEGIES].circuits.states()
    there = tuple(f"{SAVED}{name}:" for name in request[SNAPSHOT].settings.configs)
    return {
        place_of(name): state
        for name, state in states.items()
        if not name.startswith(SAVED) or name.startswith(there)
    }


async def models(request: web.Request) -> web.Response:
    """GET /v1/models: what can be asked for by model name alone, as `@slug/model`.

    What a server of the operator's own has, behind a custom host, is not known here.
    """
    entries = [
        {
            "id": f"@{slug}/{model}",
            "object": "model",
            "created": 0,
            "owned_by": virtual_key.adapter.id,
        }
        for slug, virtual_key in sorted(request[SNAPSHOT].settings.virtual_keys.items())
        if not virtual_key.custom_host
        for model in virtual_key.adapter.models
    ]
    return _json({"object": "list", "data": entries})


async def image_model(request: web.Request) -> web.Response:
    """GET /v1/images/models/{provider}/{model}: what each parameter may be, and what becomes of it.

    The provider is an id, or a virtual key as `@slug`.
    """
    name, model = request.match_info["provider"], request.match_info["model"]
    if name.startswith("@"):
        virtual_key = request[SNAPSHOT].settings.virtual_keys.get(name[1:])
        adapter = virtual_key.adapter if virtual_key else None
    else:
        adapter = adapters.adapter(name) if name in adapters.NAMES else None
    if adapter is None:
        raise GatewayError(
            "There is no provider of that name. GET /v1/images/models lists them.",
            status=404,
            type="invalid_request_error",
            code="unknown_provider",
            param="provider",
        )
    from adapters.table.describe import described  # noqa: PLC0415 - rarely asked for

    return _json(described(adapter, model))


async def forget(request: web.Request) -> web.Response:
    """DELETE /v1/cache: give up the caller's kept answers, with `?namespace=` only of that one."""
    namespace = request.query.get("namespace")
    count = await request.app[CACHE].forget(request[CALLER].name, namespace)
    return _json({"deleted": count})


async def image_models(request: web.Request) -> web.Response:
    """GET /v1/images/models: every provider, with the models of it that are known by name."""
    del request
    known = map(adapters.adapter, adapters.PROVIDERS)
    entries = [
        {"id": f"{it.id}/{model}", "object": "image_model", "provider": it.id, "model": model}
        for it in known
        for model in it.models
    ]
    return _json({"object": "list", "data": entries})


def _json(body: object, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
