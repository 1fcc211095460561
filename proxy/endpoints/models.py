"""GET /v1/models and /v1/images/models: the known models, and the parameters of each."""

from __future__ import annotations

import orjson
from aiohttp import web

import adapters
from proxy.errors import GatewayError
from proxy.reload.snapshot import SNAPSHOT


async def list_models(request: web.Request) -> web.Response:
    """Respond with the models that a model name alone can reach, as `@virtual-key/model`.

    The models of a self-hosted server, behind a custom host, are not known.
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
