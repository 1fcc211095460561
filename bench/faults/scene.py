"""How a client asks, and what it got."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import openai
import orjson
from openai import AsyncOpenAI
from portkey_ai._vendor import openai as openai_in_portkey

from .gateways import KEY
from .provider import PATH, Provider

OURS = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "up"}
OTHER = "a picture that is not whole"
NONE: Mapping[str, str] = {}


@dataclass
class Scene:
    """What a story is told with: the gateways, the provider, and its own name.

    `url` is a gateway that lets clients wait, `strict` one that has them ask again.
    """

    name: str
    url: str
    strict: str
    provider: Provider
    session: aiohttp.ClientSession

    @property
    def called(self) -> asyncio.Event:
        """Set once the provider was called."""
        return self.provider.called[self.name]

    @property
    def gate(self) -> asyncio.Event:
        """What the provider waits for."""
        return self.provider.gates[self.name]

    def read(self, b64: str) -> str:
        """Note a picture that arrived: which one, or that it is none."""
        return b64 if b64 in self.provider.made[self.name] else OTHER

    async def ask(
        self,
        url: str,
        headers: Mapping[str, str] = NONE,
        *,
        more: str = "",
        seconds: float = 20,
        stream: bool = False,
    ) -> str:
        """Ask as any HTTP client does: gives the picture, or what came instead."""
        body = {"prompt": self.name + more, **({"stream": True} if stream else {})}
        try:
            async with self.session.post(
                url + PATH,
                json=body,
                headers={**OURS, **headers},
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as got:
                answer = await got.read()
        except TimeoutError:
            return "its own timeout"
        except aiohttp.ClientError:
            return "cut"
        if stream and got.ok:
            answer = answer.partition(b"data: ")[2]
        tree = orjson.loads(answer)
        if not got.ok:
            return f"{got.status} `{tree['error']['code']}`"
        return self.read(tree["b64_json"] if stream else tree["data"][0]["b64_json"])

    async def ask_by(
        self,
        sdk: type,
        url: str,
        headers: Mapping[str, str] = NONE,
        *,
        seconds: float = 20,
        stream: bool = False,
    ) -> str:
        """Ask by an SDK, with its own retries: gives the picture, or what it raised."""
        naming: dict[str, Any] = {"virtual_key": "up"}
        if sdk is AsyncOpenAI:
            naming = {"default_headers": {"x-portkey-virtual-key": "up"}}
        client = sdk(base_url=f"{url}/v1", api_key=KEY, **naming)
        generate = client.images.generate
        try:
            got = await generate(
                prompt=self.name, timeout=seconds, extra_headers=headers, stream=stream
            )
            if stream:
                return self.read([event async for event in got][-1].b64_json)
            return self.read(got.data[0].b64_json)
        except (openai.APIStatusError, openai_in_portkey.APIStatusError) as error:
            return f"{error.status_code} `{error.code or error.type}`"
        except (openai.OpenAIError, openai_in_portkey.OpenAIError, httpx.HTTPError):
            return "cut"
        finally:
            await getattr(client, "openai_client", client).close()
