"""A transcript's call through a running gateway, whose provider follows the transcript."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from adapters import get_adapter
from adapters.http import ProviderRequest
from proxy.app import make_app
from proxy.routing.plan import Target
from proxy.settings.loader import parse
from proxy.upstream import exchange
from tests.support.transcript_provider import ScriptedProvider
from tests.support.transcripts import Transcript

KEY = "gateway-key-0123456789"
_BLOB_URL = re.compile(r'http://[^"]*?/v1/images/blobs/[^"]*')

Credentialing = Callable[[Transcript, ScriptedProvider], tuple[dict[str, Any], dict[str, str]]]
"""Returns settings and request headers that give the gateway a transcript's credential."""


@dataclass(frozen=True)
class Replay:
    """What the gateway did with a transcript's call; URLs are written as in the transcript."""

    transcript: Transcript
    provider: ScriptedProvider
    status: int
    headers: Mapping[str, str]
    text: str
    waits: list[float]
    """The pauses before polls, in seconds."""
    log: str
    blobs: Mapping[str, str]
    """The images behind the gateway's own URLs in the response, as base64."""

    @property
    def body(self) -> dict[str, Any]:
        """The JSON response without `created`."""
        tree: dict[str, Any] = orjson.loads(self.text)
        return {name: value for name, value in tree.items() if name != "created"}

    @property
    def events(self) -> list[dict[str, Any]]:
        """The data of the server-sent events."""
        lines = self.text.splitlines()
        prefix = "data: "
        return [orjson.loads(line[len(prefix) :]) for line in lines if line.startswith(prefix)]


def by_virtual_key(
    transcript: Transcript, provider: ScriptedProvider
) -> tuple[dict[str, Any], dict[str, str]]:
    """Store the credential, with the host, in the operator's settings; the caller names it."""
    stored = {"provider": transcript.provider, "custom_host": _host(transcript, provider)}
    settings = {"virtual_keys": {"stored": {**transcript.credentials_, **stored}}}
    return settings, {"x-portkey-virtual-key": "stored"}


def by_headers(
    transcript: Transcript, provider: ScriptedProvider
) -> tuple[dict[str, Any], dict[str, str]]:
    """Send provider, credential and host along with the request; the operator trusts the host."""
    given, options = transcript.credentials, get_adapter(transcript.provider).options
    headers = {option.header: given[option.name] for option in options if given[option.name]}
    headers["x-portkey-provider"] = transcript.provider
    headers["x-portkey-custom-host"] = _host(transcript, provider)
    if given.api_key:
        headers["authorization"] = f"Bearer {given.api_key}"
    return {"trusted_custom_hosts": ["127.0.0.1"]}, headers


def _host(transcript: Transcript, provider: ScriptedProvider) -> str:
    return provider.here(get_adapter(transcript.provider).resolve_base_url(transcript.credentials))


async def replay_transcript(
    transcript: Transcript, credentialing: Credentialing = by_virtual_key, **params: Any
) -> Replay:
    """Send a transcript's call, with further parameters, to a gateway and its scripted provider."""
    waits, log = list[float](), StringIO()

    async def record_wait(seconds: float) -> None:
        waits.append(seconds)

    async with ScriptedProvider(transcript) as provider:
        chosen, headers = credentialing(transcript, provider)
        tree = {"api_keys": {"tests": {"key": KEY}}, "sandbox": True, **chosen}
        settings = orjson.dumps(tree).decode()
        app = make_app(
            parse(settings, environ={}), log_to=log, sleep=record_wait, make_call_id=lambda: 0
        )
        headers |= {"x-portkey-api-key": KEY, "content-type": "application/json"}
        data = orjson.dumps({**transcript.call, **params})
        async with TestClient(TestServer(app)) as gateway:
            with fixed_urls_redirected(transcript):
                response = await gateway.post("/v1/images/generations", data=data, headers=headers)
                text = await response.text()
                blobs = {url: await _fetch(gateway, url) for url in _BLOB_URL.findall(text)}
        text = provider.away(text)
    lower = {name.lower(): value for name, value in response.headers.items()}
    return Replay(transcript, provider, response.status, lower, text, waits, log.getvalue(), blobs)


async def _fetch(gateway: TestClient[web.Request, web.Application], url: str) -> str:
    """Fetch an image from the gateway itself, with no key."""
    async with gateway.get(URL(url, encoded=True).relative()) as response:
        assert response.status == 200
        return b64encode(await response.read()).decode()


@contextmanager
def fixed_urls_redirected(transcript: Transcript) -> Iterator[None]:
    """Send to the custom host what the adapter requests at fixed URLs, such as a token's."""
    resolve_url = exchange.resolve_url

    def redirected(target: Target, request: ProviderRequest) -> tuple[URL, bool]:
        root = target.base_url.partition("/_host/")[0]
        url = request.url.replace("https://", f"{root}/_host/")
        return resolve_url(target, replace(request, url=url))

    with pytest.MonkeyPatch.context() as patch:
        if _begins_at_fixed_url(transcript):
            patch.setattr(exchange, "resolve_url", redirected)
        yield


def _begins_at_fixed_url(transcript: Transcript) -> bool:
    """Whether the adapter's first request goes to a URL that is not below the base URL.

    That is one for a token, or for another provider's name of a model.
    """
    base = get_adapter(transcript.provider).resolve_base_url(transcript.credentials)
    return bool(transcript.exchanges) and not transcript.exchanges[0].request.url.startswith(base)
