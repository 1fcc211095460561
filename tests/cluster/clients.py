"""The cluster's clients: both SDKs under continuous load, and clients that disconnect."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx
import openai
from openai import AsyncOpenAI
from portkey_ai import AsyncPortkey
from portkey_ai._vendor import openai as openai_in_portkey

from tests.cluster.nodes import KEY
from tests.cluster.provider import image_for

PATH = "/v1/images/generations"
HEADERS = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "up"}
RETRY = {"x-stainless-retry-count": "1"}
_FAILURES = (openai.OpenAIError, openai_in_portkey.OpenAIError, httpx.HTTPError)
_STREAMS = 6
_TIMEOUT_SECONDS = 60.0
_DISCONNECT_SECONDS = 0.15
"""Long enough to send a request, too short to get its image."""
_RETRY_SECONDS = 0.5
_MAX_TRIES = 8
_OK = 200
_RETRYABLE = frozenset({429, 502, 503, 504})


@dataclass
class Results:
    """What clients got: prompts requested, images received, failures by code."""

    prompts: set[str] = field(default_factory=set)
    images: int = 0
    wrong: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def add_image(self, prompt: str, image: str | None) -> None:
        """Count an image; it is wrong unless it is the one of its prompt."""
        if image == image_for(prompt):
            self.images += 1
        else:
            self.wrong += 1


def _failure_code(error: Exception) -> str:
    """Return the code of the gateway's error, or the exception's type."""
    body = getattr(error, "body", None)
    code = body.get("code") if isinstance(body, dict) else None
    return str(code or type(error).__name__)


@asynccontextmanager
async def sdks(url: str) -> AsyncIterator[Sequence[Any]]:
    """Open a client of each SDK, with its own retries."""
    base = f"{url}/v1"
    async with (
        AsyncOpenAI(
            base_url=base, api_key="-", default_headers=HEADERS, timeout=_TIMEOUT_SECONDS
        ) as first,
        AsyncPortkey(
            base_url=base, api_key=KEY, virtual_key="up", timeout=_TIMEOUT_SECONDS
        ) as second,
    ):
        yield first, second


@asynccontextmanager
async def load(url: str, name: str) -> AsyncIterator[Results]:
    """Send requests continuously while the block runs, then wait for the outstanding ones."""
    results, over, numbers = Results(), asyncio.Event(), itertools.count()

    async def stream(client: Any) -> None:
        while not over.is_set():
            prompt = f"{name} {next(numbers)}"
            results.prompts.add(prompt)
            try:
                found = await client.images.generate(prompt=prompt, model="gpt-image-2")
            except _FAILURES as error:
                results.failures[_failure_code(error)] += 1
            else:
                results.add_image(prompt, found.data[0].b64_json)

    async with sdks(url) as clients:
        streams = [asyncio.create_task(stream(it)) for it in clients for _ in range(_STREAMS)]
        try:
            yield results
        finally:
            over.set()
            await asyncio.gather(*streams)


class DisconnectingClients:
    """Clients that disconnect before their image is ready, and retry later."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def disconnect(self, url: str, prompts: Sequence[str]) -> None:
        """Request one image per prompt, and disconnect."""
        await asyncio.gather(*(self._disconnect(url, it) for it in prompts))

    async def collect(self, urls: Sequence[str], prompts: Sequence[str]) -> Results:
        """Retry each prompt at one of the URLs; return what was collected."""
        results = Results(prompts=set(prompts))
        choices = itertools.cycle(urls)
        await asyncio.gather(*(self._collect(next(choices), it, results) for it in prompts))
        return results

    async def _disconnect(self, url: str, prompt: str) -> None:
        try:
            async with self._post(url, prompt, _DISCONNECT_SECONDS, {}) as answer:
                await answer.read()
        except (TimeoutError, aiohttp.ClientError):
            return

    async def _collect(self, url: str, prompt: str, results: Results) -> None:
        code = ""
        for _ in range(_MAX_TRIES):
            try:
                async with self._post(url, prompt, _TIMEOUT_SECONDS, RETRY) as answer:
                    body = await answer.json(content_type=None)
                    if answer.status == _OK:
                        results.add_image(prompt, body["data"][0]["b64_json"])
                        return
                    code = body["error"]["code"] or str(answer.status)
                    if answer.headers.get("x-should-retry") == "false":
                        break
                    if answer.status not in _RETRYABLE:
                        break
            except (TimeoutError, aiohttp.ClientError, ValueError, TypeError) as error:
                code = type(error).__name__
            await asyncio.sleep(_RETRY_SECONDS)
        results.failures[code] += 1

    def _post(self, url: str, prompt: str, seconds: float, more: dict[str, str]) -> Any:
        return self._session.post(
            url + PATH,
            json={"prompt": prompt, "model": "gpt-image-2"},
            headers={**HEADERS, **more},
            timeout=aiohttp.ClientTimeout(total=seconds),
        )
