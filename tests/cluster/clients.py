"""Who asks the cluster for pictures: both SDKs without pause, and clients that leave it."""

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
from tests.cluster.provider import picture_of

PATH = "/v1/images/generations"
HEADERS = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "up"}
AGAIN = {"x-stainless-retry-count": "1"}
_FAILURES = (openai.OpenAIError, openai_in_portkey.OpenAIError, httpx.HTTPError)
_STREAMS = 6
_PATIENCE = 60.0
_LEAVES_AFTER = 0.15
"""Seconds after which a client leaves: a picture takes longer, and to ask for it does not."""
_AGAIN_AFTER = 0.5
_TRIES = 8
_OK = 200
_PASSING = frozenset({429, 502, 503, 504})


@dataclass
class Got:
    """What clients got: pictures by prompt, and failures by what they were."""

    asked: set[str] = field(default_factory=set)
    pictures: int = 0
    wrong: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def take(self, prompt: str, picture: str | None) -> None:
        """Note a picture, which must be the one that was asked for."""
        if picture == picture_of(prompt):
            self.pictures += 1
        else:
            self.wrong += 1


def _word(error: Exception) -> str:
    """Name a failure by the code of the gateway's error, or by its type."""
    body = getattr(error, "body", None)
    code = body.get("code") if isinstance(body, dict) else None
    return str(code or type(error).__name__)


@asynccontextmanager
async def sdks(url: str) -> AsyncIterator[Sequence[Any]]:
    """Open a client of each SDK, as its users do, with its own retries."""
    base = f"{url}/v1"
    async with (
        AsyncOpenAI(
            base_url=base, api_key="-", default_headers=HEADERS, timeout=_PATIENCE
        ) as first,
        AsyncPortkey(base_url=base, api_key=KEY, virtual_key="up", timeout=_PATIENCE) as second,
    ):
        yield first, second


@asynccontextmanager
async def load(url: str, name: str) -> AsyncIterator[Got]:
    """Ask without pause while a block lasts, and wait for what was asked for."""
    got, over, numbers = Got(), asyncio.Event(), itertools.count()

    async def stream(client: Any) -> None:
        while not over.is_set():
            prompt = f"{name} {next(numbers)}"
            got.asked.add(prompt)
            try:
                found = await client.images.generate(prompt=prompt, model="gpt-image-2")
            except _FAILURES as error:
                got.failures[_word(error)] += 1
            else:
                got.take(prompt, found.data[0].b64_json)

    async with sdks(url) as clients:
        streams = [asyncio.create_task(stream(it)) for it in clients for _ in range(_STREAMS)]
        try:
            yield got
        finally:
            over.set()
            await asyncio.gather(*streams)


class Leavers:
    """Clients that leave before their picture is there, and come back for it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def leave(self, url: str, prompts: Sequence[str]) -> None:
        """Ask for a picture each, and leave."""
        await asyncio.gather(*(self._left(url, it) for it in prompts))

    async def collect(self, urls: Sequence[str], prompts: Sequence[str]) -> Got:
        """Come back for each, at one of some addresses."""
        got = Got(asked=set(prompts))
        choices = itertools.cycle(urls)
        await asyncio.gather(*(self._back(next(choices), it, got) for it in prompts))
        return got

    async def _left(self, url: str, prompt: str) -> None:
        try:
            async with self._asking(url, prompt, _LEAVES_AFTER, {}) as answer:
                await answer.read()
        except (TimeoutError, aiohttp.ClientError):
            return

    async def _back(self, url: str, prompt: str, got: Got) -> None:
        word = ""
        for _ in range(_TRIES):
            try:
                async with self._asking(url, prompt, _PATIENCE, AGAIN) as answer:
                    body = await answer.json(content_type=None)
                    if answer.status == _OK:
                        got.take(prompt, body["data"][0]["b64_json"])
                        return
                    word = body["error"]["code"] or str(answer.status)
                    if answer.headers.get("x-should-retry") == "false":
                        break
                    if answer.status not in _PASSING:
                        break
            except (TimeoutError, aiohttp.ClientError, ValueError, TypeError) as error:
                word = type(error).__name__
            await asyncio.sleep(_AGAIN_AFTER)
        got.failures[word] += 1

    def _asking(self, url: str, prompt: str, seconds: float, more: dict[str, str]) -> Any:
        return self._session.post(
            url + PATH,
            json={"prompt": prompt, "model": "gpt-image-2"},
            headers={**HEADERS, **more},
            timeout=aiohttp.ClientTimeout(total=seconds),
        )
