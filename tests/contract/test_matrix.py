"""Every adapter, in every form a client can ask for: OpenAI's own SDK must understand the answer.

Providers follow their transcripts, as often as they are asked.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import orjson
import pytest
from openai import APIError, AsyncOpenAI
from openai.types.image_gen_completed_event import ImageGenCompletedEvent
from openai.types.images_response import ImagesResponse
from PIL import Image as Picture

from adapters import PROVIDERS, get_adapter
from adapters.tools.image_header import detect_media_type
from tests.support.gateway import KEY, Gateway, gateway
from tests.support.transcript_provider import RepeatingProvider
from tests.support.transcripts import FOLDER, Transcript, load

FORMS = [(wanted, n) for wanted in ("url", "b64_json") for n in (1, 3)]
"""The form of an image and the count of images that a client asks for."""


FORMS = [(wanted, n) for wanted in ("url", "b64_json") for n in (1, 3)]
"""The form of an image and the count of images that a client asks for."""


@dataclass
class Asked:
    """A gateway whose virtual key leads to a provider, and OpenAI's SDK in front of it."""

    ours: Gateway
    client: AsyncOpenAI
    transcript: Transcript

    async def answer(self, wanted: str, n: int) -> tuple[ImagesResponse, str]:
        """Ask for pictures; give the answer, its types checked, and the receipt."""
        raw = await self.client.images.with_raw_response.generate(**self._params(wanted, n))
        body = ImagesResponse.model_validate_json(raw.content)
        return body, raw.headers.get("x-easel-receipt", "")

    async def events(self, wanted: str, n: int) -> tuple[list[ImageGenCompletedEvent], str]:
        """Ask for events; give the finished pictures, and the code of an error at the end."""
        events = await self.client.images.generate(stream=True, **self._params(wanted, n))
        found: list[ImageGenCompletedEvent] = []
        try:
            async for event in events:
                assert isinstance(event, ImageGenCompletedEvent)
                found.append(event)
        except APIError as error:
            return found, str(error.code)
        return found, ""

    def _params(self, wanted: str, n: int) -> dict[str, Any]:
        call = self.transcript.call
        ours = ("model", "prompt", "n", "response_format")
        own = {name: it for name, it in call.items() if name not in ours}
        named = {"model": call.get("model"), "prompt": call["prompt"]}
        return {**named, "response_format": wanted, "n": n, "extra_body": own}


@asynccontextmanager
async def asked(transcript: Transcript) -> AsyncIterator[Asked]:
    async with RepeatingProvider(transcript) as provider:
        host = provider.here(
            get_adapter(transcript.provider).resolve_base_url(transcript.credentials)
        )
        stored = {**transcript.credentials_, "provider": transcript.provider, "custom_host": host}
        keys = orjson.dumps({"stored": stored}).decode()
        async with gateway(f"virtual_keys: {keys}") as ours:
            client = AsyncOpenAI(
                api_key=KEY,
                base_url=f"{ours.url}/v1",
                max_retries=0,
                default_headers={"x-portkey-virtual-key": "stored"},
            )
            async with client:
                yield Asked(ours, client, transcript)


def conversation(provider: str) -> Transcript:
    """Give the success that is easiest to have again in another form: one of a single picture."""
    found = [load(path) for path in sorted(FOLDER.glob(f"{provider}/*.json"))]
    good = [it for it in found if it.kind == "success" and not it.call.get("stream")]
    free = [it for it in good if not get_adapter(provider).token_flow(it.credentials, 0)]
    return min(free, key=lambda it: len((it.answer or {}).get("data", [])))


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_answer_has_as_many_images_in_the_form_asked_for_or_says_why_not(
    provider: str,
) -> None:
    async with asked(conversation(provider)) as it:
        for wanted, n in FORMS:
            body, receipt = await it.answer(wanted, n)
            assert body.data, (wanted, n)
            enough = len(body.data) >= n or "failed images=" in receipt
            assert enough or _says_it_itself(provider), (wanted, n)
            for image in body.data:
                assert bool(image.url) is (wanted == "url"), n
                assert bool(image.b64_json) is (wanted == "b64_json"), n
                await _is_a_picture(it.ours, image.url or "", image.b64_json or "")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_stream_has_an_event_for_each_image_or_an_error_at_its_end(provider: str) -> None:
    async with asked(conversation(provider)) as it:
        for wanted, n in FORMS:
            events, code = await it.events(wanted, n)
            assert events, (wanted, n)
            enough = len(events) >= n or code == "incomplete"
            assert enough or _says_it_itself(provider), (wanted, n)
            for event in events:
                assert event.type == "image_generation.completed"
                assert event.usage.total_tokens >= 0
                assert event.created_at
                await _is_a_picture(it.ours, "", event.b64_json)


def _says_it_itself(provider: str) -> bool:
    """Whether the answer is relayed unread: then the count of images is the provider's."""
    return get_adapter(provider).passthrough


async def _is_a_picture(ours: Gateway, url: str, text: str) -> None:
    data = b64decode(text)
    if url.startswith(ours.url):
        async with ours.session.get(url) as got:
            assert got.status == 200
            data = await got.read()
    if data and detect_media_type(data) != "image/svg+xml":
        Picture.open(BytesIO(data)).verify()
