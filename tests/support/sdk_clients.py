"""The official SDKs of OpenAI and Portkey, in front of a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openai import AsyncOpenAI, OpenAI
from portkey_ai import AsyncPortkey, Portkey

from tests.support.gateway import (
    KEY,
)

Client = OpenAI | AsyncOpenAI | Portkey | AsyncPortkey
OPENAI = (OpenAI, AsyncOpenAI)
PORTKEY = (Portkey, AsyncPortkey)
ASYNC = (AsyncOpenAI, AsyncPortkey)


@asynccontextmanager
async def opened(sdk: type, base_url: str, **options: Any) -> AsyncIterator[Any]:
    """Open a client, closed afterwards; the key is the gateway's unless another is given."""
    client = sdk(base_url=base_url, **{"api_key": KEY, **options})
    try:
        yield client
    finally:
        # Portkey's client holds an OpenAI client, and closes only itself.
        for inner in {client, getattr(client, "openai_client", client)}:
            closing = inner.close()
            if closing is not None:
                await closing


async def draw(client: Client, **params: Any) -> Any:
    """Ask for a picture; a synchronous client does so in a thread."""
    generate: Any = client.images.generate
    # A gateway that leaves a client hanging fails the test, not the run: the SDKs wait ten minutes.
    params = {"prompt": "a cube", "size": "64x64", "timeout": 10, **params}
    if isinstance(client, ASYNC):
        return await generate(**params)
    return await asyncio.to_thread(generate, **params)


async def events(client: Client, **params: Any) -> list[Any]:
    """Ask for a stream and read it to its end."""
    stream = await draw(client, stream=True, **params)
    if isinstance(client, ASYNC):
        return [event async for event in stream]
    return await asyncio.to_thread(list, stream)


UP = {"default_headers": {"x-portkey-virtual-key": "up"}}
"""How OpenAI's SDK names the virtual key that leads to the scripted provider."""


def event(kind: str, b64: str, **more: Any) -> bytes:
    """Write an event as OpenAI sends it."""
    body = {"type": f"image_generation.{kind}", "b64_json": b64, "created_at": 1, **more}
    return f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode()
