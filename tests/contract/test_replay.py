"""Every transcript once more, through the running gateway, over real sockets."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from yarl import URL

from adapters import get_adapter
from adapters.errors import ImageError, ProviderError
from adapters.http import ProviderRequest
from proxy.app import make_app
from proxy.routing.plan import Target
from proxy.settings.loader import parse
from proxy.upstream import exchange as sending
from tests.support.transcript_provider import ScriptedProvider
from tests.support.transcripts import FOLDER, Transcript, load, play, secrets_of

PLACES = sorted(FOLDER.glob("*/*.json"))
_MEASURED = re.compile(r"(?:, )?(?:measured|asked) \d+=[^,]*")


@pytest.fixture
async def replay(transcript: Transcript, opened: Open) -> Replay:
    return await replayed(opened, transcript)


def test_the_provider_is_asked_what_is_written_down(replay: Replay) -> None:
    expected = [exchange.request for exchange in replay.transcript.exchanges]
    assert len(replay.provider.asked) == len(expected)
    for seen, request in zip(replay.provider.asked, expected, strict=True):
        seen.hold_against(request)
    assert replay.waits == [request.wait for request in expected if request.wait]


def test_the_client_gets_what_is_written_down(replay: Replay) -> None:
    transcript = replay.transcript
    if transcript.is_relayed:
        assert replay.text == transcript.exchanges[-1].reply.sse
    elif transcript.error:
        assert (replay.status, _outline(replay.body)) == _failure(transcript)
    elif transcript.call.get("stream"):
        assert _finished(replay) == _pictures(transcript)
    else:
        assert _with_pictures(replay) == _delivered(transcript)


def test_the_answer_says_who_made_it_and_what_became_of_the_call(replay: Replay) -> None:
    assert replay.headers["x-portkey-provider"] == replay.transcript.provider
    assert replay.headers["x-portkey-trace-id"]
    receipt = replay.headers.get("x-easel-receipt", "")
    assert _MEASURED.sub("", receipt).removeprefix(", ") == _expected_receipt(replay.transcript)
    assert replay.transcript.kind != "success" or _is_measured(replay)


def test_secrets_go_to_the_provider_and_nowhere_else(replay: Replay) -> None:
    fetched = "".join(str(dict(seen.headers)) for seen in replay.provider.fetched)
    told = replay.log + replay.text + str(replay.headers) + fetched
    assert not [secret for secret in secrets_of(replay.transcript) if secret in told]
    assert replay.log
    assert replay.transcript.call.get("prompt", KEY) not in replay.log


async def test_a_picture_comes_as_base64_where_the_client_wants_it(
    transcript: Transcript, opened: Open
) -> None:
    if _is_translated(transcript):
        replay = await replayed(opened, transcript, response_format="b64_json")
        assert [entry["b64_json"] for entry in replay.body["data"]] == _pictures(transcript)


async def test_a_picture_comes_as_a_url_where_the_client_wants_it(
    transcript: Transcript, opened: Open
) -> None:
    if _is_translated(transcript):
        replay = await replayed(opened, transcript, response_format="url")
        places = [entry["url"] for entry in replay.body["data"]]
        assert [_opened(replay, place) for place in places] == _pictures(transcript)


async def test_a_picture_comes_as_an_event_where_the_client_wants_it(
    transcript: Transcript, opened: Open
) -> None:
    if _is_translated(transcript):
        replay = await replayed(opened, transcript, stream=True)
        assert _finished(replay) == _pictures(transcript)


async def test_a_credential_in_headers_does_the_same(transcript: Transcript, opened: Open) -> None:
    options = get_adapter(transcript.provider).options
    if not any(option.operator_only and transcript.credentials[option.name] for option in options):
        replay = await replayed(opened, transcript, by_headers)
        test_the_provider_is_asked_what_is_written_down(replay)
        test_the_client_gets_what_is_written_down(replay)
        test_secrets_go_to_the_provider_and_nowhere_else(replay)


def _is_translated(transcript: Transcript) -> bool:
    """Tell whether the gateway itself gives the picture the form that the client wants."""
    found, call = get_adapter(transcript.provider), transcript.call
    plain = not {"response_format", "stream"} & call.keys()
    return transcript.kind == "success" and plain and not found.passthrough


def _pictures(transcript: Transcript) -> list[str]:
    """Give the pictures of the answer as base64, those behind URLs too."""
    entries = (transcript.answer or {})["data"]
    return [entry.get("b64_json") or transcript.downloads[entry["url"]] for entry in entries]


def _delivered(transcript: Transcript) -> dict[str, Any]:
    """Give the answer as the client wants it: pictures as base64, or the pictures behind URLs."""
    wanted, answer = transcript.call.get("response_format"), transcript.answer or {}
    entries = []
    for entry, picture in zip(answer["data"], _pictures(transcript), strict=True):
        rest = {name: it for name, it in entry.items() if name not in ("url", "b64_json")}
        form = wanted or ("url" if "url" in entry else "b64_json")
        entries.append({form: picture, **rest})
    return {**answer, "data": entries}


def _with_pictures(replay: Replay) -> dict[str, Any]:
    """Give the answer with the picture itself in the place of each URL."""
    entries = [
        {**entry, "url": _opened(replay, entry["url"])} if "url" in entry else entry
        for entry in replay.body["data"]
    ]
    return {**replay.body, "data": entries}


def _finished(replay: Replay) -> list[str]:
    """Give the finished pictures that events told of, as base64."""
    kind = "image_generation.completed"
    return [event["b64_json"] for event in replay.events if event["type"] == kind]


def _opened(replay: Replay, url: str) -> str:
    """Give the picture at a URL as base64, be it one of the gateway's or the provider's."""
    return replay.kept.get(url) or replay.transcript.downloads[url]


def _expected_receipt(transcript: Transcript) -> str:
    """Give the receipt written down, and what the gateway itself adds on pictures not made."""
    found, made = get_adapter(transcript.provider), len((transcript.answer or {}).get("data", []))
    missing = 0 if found.passthrough else transcript.n - made
    lost = f"failed pictures={missing}>incomplete" if made and missing > 0 else ""
    return ", ".join(filter(None, (transcript.receipt, lost)))


def _is_measured(replay: Replay) -> bool:
    """Tell whether the receipt measures a picture, where the gateway has seen one."""
    seen = bool(replay.kept) or "b64_json" in replay.text
    return (
        not seen
        or replay.transcript.is_relayed
        or "measured 1=" in replay.headers["x-easel-receipt"]
    )


def _failure(transcript: Transcript) -> tuple[int, dict[str, Any]]:
    """Give the status and the body of the error: the provider's own, if it is in our shape."""
    with pytest.raises(ImageError) as caught:
        play(transcript)
    error = caught.value
    if isinstance(error, ProviderError) and error.body is not None:
        return error.status, _outline(orjson.loads(error.body))
    return error.status, _outline({"error": error.to_dict()})


def _outline(body: dict[str, Any]) -> dict[str, Any]:
    """Give an error's body without its sentences."""
    error = {name: value for name, value in body["error"].items() if name != "message"}
    return {name: value for name, value in {**body, "error": error}.items() if name != "message"}
