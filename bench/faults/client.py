"""The clients: a plain HTTP client and the SDKs, and what each of their requests returned."""

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

HEADERS = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "up"}
INCOMPLETE = "an incomplete image"
NO_HEADERS: Mapping[str, str] = {}


@dataclass
class Client:
    """A client of one scenario, with access to the gateways and the provider.

    `name` is the scenario's name and its prompt. The gateway at `url` keeps clients waiting; the
    one at `strict` answers 504 after `jobs.wait_seconds`.
    """

    name: str
    url: str
    strict: str
    provider: Provider
    session: aiohttp.ClientSession

    @property
    def called(self) -> asyncio.Event:
        """Set once the provider has been called."""
        return self.provider.called[self.name]

    @property
    def gate(self) -> asyncio.Event:
        """The provider waits for this event before it completes its answer."""
        return self.provider.gates[self.name]

    def match_image(self, b64: str) -> str:
        """Return the base64 if it is an image of the provider, else `INCOMPLETE`."""
        return b64 if b64 in self.provider.images[self.name] else INCOMPLETE

    async def request(
        self,
        url: str,
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        suffix: str = "",
        seconds: float = 20,
        stream: bool = False,
    ) -> str:
        """Send a request as a plain HTTP client; return the base64, or what happened instead."""
        body = {"prompt": self.name + suffix, **({"stream": True} if stream else {})}
        try:
            async with self.session.post(
                url + PATH,
                json=body,
                headers={**HEADERS, **headers},
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                answer = await response.read()
        except TimeoutError:
            return "client timeout"
        except aiohttp.ClientError:
            return "cut"
        if stream and response.ok:
            answer = answer.partition(b"data: ")[2]
        tree = orjson.loads(answer)
        if not response.ok:
            return f"{response.status} `{tree['error']['code']}`"
        return self.match_image(tree["b64_json"] if stream else tree["data"][0]["b64_json"])

    async def request_with_sdk(
        self,
        sdk: type,
        url: str,
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        seconds: float = 20,
        stream: bool = False,
    ) -> str:
        """Send a request with an SDK, which may retry; return the base64 or the error it raised."""
        options: dict[str, Any] = {"virtual_key": "up"}
        if sdk is AsyncOpenAI:
            options = {"default_headers": {"x-portkey-virtual-key": "up"}}
        client = sdk(base_url=f"{url}/v1", api_key=KEY, **options)
        generate = client.images.generate
        try:
            images = await generate(
                prompt=self.name, timeout=seconds, extra_headers=headers, stream=stream
            )
            if stream:
                return self.match_image([event async for event in images][-1].b64_json)
            return self.match_image(images.data[0].b64_json)
        except (openai.APIStatusError, openai_in_portkey.APIStatusError) as error:
            return f"{error.status_code} `{error.code or error.type}`"
        except (openai.OpenAIError, openai_in_portkey.OpenAIError, httpx.HTTPError):
            return "cut"
        finally:
            await getattr(client, "openai_client", client).close()
