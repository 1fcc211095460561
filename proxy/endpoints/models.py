"""GET /v1/models and /v1/images/models: the known models, and the parameters of each."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

import adapters
from proxy.errors import GatewayError
from proxy.reload.snapshot import SNAPSHOT
from proxy.settings.loader import VirtualKey


async def list_models(request: web.Request) -> web.Response:
    """Respond with the models that a model name alone can reach, as `@virtual-key/model`.

    The models of a self-hosted server, behind a custom host, are those that the virtual key's
    `models` names; without any it has one entry, `@virtual-key`, which leaves the model to the
    server.
    """
    virtual_keys = request[SNAPSHOT].settings.virtual_keys
    entries = [
        _model_entry(slug, virtual_key, model)
        for slug, virtual_key in sorted(virtual_keys.items())
        for model in _listed_models(virtual_key)
    ]
    return _json({"object": "list", "data": entries})


async def get_model(request: web.Request) -> web.Response:
    """Respond with one model of the list, `@virtual-key/model`."""
    name = request.match_info["model"].removeprefix("@").rstrip("/")
    slug, _, model = name.partition("/")
    virtual_key = request[SNAPSHOT].settings.virtual_keys.get(slug)
    if virtual_key is None or model not in _listed_models(virtual_key):
        raise GatewayError(
            "Unknown model. GET /v1/models lists the models.",
            status=404,
            type="invalid_request_error",
            code="model_not_found",
            param="model",
        )
    return _json(_model_entry(slug, virtual_key, model))


def _listed_models(virtual_key: VirtualKey) -> tuple[str, ...]:
    if virtual_key.models or virtual_key.custom_host:
        return virtual_key.models or ("",)
    return virtual_key.adapter.models


def _model_entry(slug: str, virtual_key: VirtualKey, model: str) -> dict[str, Any]:
    name = f"@{slug}/{model}" if model else f"@{slug}"
    return {"id": name, "object": "model", "created": 0, "owned_by": virtual_key.adapter.id}


async def list_image_models(request: web.Request) -> web.Response:
    """Respond with the known models of every provider."""
    del request
    known = map(adapters.get_adapter, adapters.PROVIDERS)
    entries = [
        {"id": f"{it.id}/{model}", "object": "image_model", "provider": it.id, "model": model}
        for it in known
        for model in it.models
    ]
    return _json({"object": "list", "data": entries})


async def describe_image_model(request: web.Request) -> web.Response:
    """Respond with the parameters of one model: their values, and how each is translated.

    The provider is an id, or a virtual key as `@slug`.
    """
    name, model = request.match_info["provider"], request.match_info["model"]
    if name.startswith("@"):
        virtual_key = request[SNAPSHOT].settings.virtual_keys.get(name[1:])
        adapter = virtual_key.adapter if virtual_key else None
    else:
        adapter = adapters.get_adapter(name) if name in adapters.NAMES else None
    if adapter is None:
        raise GatewayError(
            "Unknown provider. GET /v1/images/models lists the providers.",
            status=404,
            type="invalid_request_error",
            code="unknown_provider",
            param="provider",
        )
    from adapters.table.describe import describe_model  # noqa: PLC0415 - rarely asked for

    return _json(describe_model(adapter, model))


def _json(body: object) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")
