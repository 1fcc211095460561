"""Every transcript once more, through the running gateway, over real sockets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters import PROVIDERS, get_adapter
from adapters.errors import ImageError, ProviderError
from tests.support.replay import KEY, Replay, by_headers, replay_transcript
from tests.support.transcripts import (
    FOLDER,
    Transcript,
    load,
    naming,
    play,
    secrets_of,
    transcripts_of,
)

PATHS = sorted(FOLDER.glob("*/*.json"))
_MEASURED = re.compile(r"(?:, )?(?:measured|asked) \d+=[^,]*")

every_provider = pytest.mark.parametrize("provider", PROVIDERS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_a_conversation_goes_as_written_down(path: Path) -> None:
    replay = await replay_transcript(load(path))
    assert_the_provider_is_asked_what_is_written_down(replay)
    assert_the_client_gets_what_is_written_down(replay)
    assert_the_headers_name_the_provider_and_the_receipt(replay)
    assert_secrets_go_to_the_provider_and_nowhere_else(replay)


@every_provider
async def test_a_credential_in_headers_does_the_same(provider: str) -> None:
    options = get_adapter(provider).options
    written = {(it.kind, *it.credentials_): it for it in transcripts_of(provider)}
    for transcript in written.values():
        given = transcript.credentials
        if any(option.operator_only and given[option.name] for option in options):
            continue
        with naming(transcript):
            replay = await replay_transcript(transcript, by_headers)
            assert_the_provider_is_asked_what_is_written_down(replay)
            assert_the_client_gets_what_is_written_down(replay)
            assert_secrets_go_to_the_provider_and_nowhere_else(replay)


@every_provider
async def test_an_image_comes_as_base64_where_the_client_wants_it(provider: str) -> None:
    for transcript in _translated(provider):
        with naming(transcript):
            replay = await replay_transcript(transcript, response_format="b64_json")
            assert [entry["b64_json"] for entry in replay.body["data"]] == _images(transcript)


@every_provider
async def test_an_image_comes_as_a_url_where_the_client_wants_it(provider: str) -> None:
    for transcript in _translated(provider):
        with naming(transcript):
            replay = await replay_transcript(transcript, response_format="url")
            urls = [entry["url"] for entry in replay.body["data"]]
            assert [_image_at(replay, url) for url in urls] == _images(transcript)


@every_provider
async def test_an_image_comes_as_an_event_where_the_client_wants_it(provider: str) -> None:
    for transcript in _translated(provider):
        with naming(transcript):
            replay = await replay_transcript(transcript, stream=True)
            assert _completed(replay) == _images(transcript)


def assert_the_provider_is_asked_what_is_written_down(replay: Replay) -> None:
    expected = [exchange.request for exchange in replay.transcript.exchanges]
    assert len(replay.provider.asked) == len(expected)
    for seen, request in zip(replay.provider.asked, expected, strict=True):
        seen.hold_against(request)
    assert replay.waits == [request.wait for request in expected if request.wait]


def assert_the_client_gets_what_is_written_down(replay: Replay) -> None:
    transcript = replay.transcript
    if transcript.is_relayed:
        assert replay.text == transcript.exchanges[-1].reply.sse
    elif transcript.error:
        assert (replay.status, _without_messages(replay.body)) == _expected_error(transcript)
    elif transcript.call.get("stream"):
        assert _completed(replay) == _images(transcript)
    else:
        assert _with_images(replay) == _expected_answer(transcript)


def assert_the_headers_name_the_provider_and_the_receipt(replay: Replay) -> None:
    assert replay.headers["x-portkey-provider"] == replay.transcript.provider
    assert replay.headers["x-portkey-trace-id"]
    receipt = replay.headers.get("x-easel-receipt", "")
    assert _MEASURED.sub("", receipt).removeprefix(", ") == _expected_receipt(replay.transcript)
    assert replay.transcript.kind != "success" or _is_measured(replay)


def assert_secrets_go_to_the_provider_and_nowhere_else(replay: Replay) -> None:
    downloads = "".join(str(dict(seen.headers)) for seen in replay.provider.fetched)
    public = replay.log + replay.text + str(replay.headers) + downloads
    assert not [secret for secret in secrets_of(replay.transcript) if secret in public]
    assert replay.log
    assert replay.transcript.call.get("prompt", KEY) not in replay.log


def _translated(provider: str) -> list[Transcript]:
    """Return the successes in which the gateway itself gives an image the form asked for."""
    if get_adapter(provider).passthrough:
        return []
    successes = [it for it in transcripts_of(provider) if it.kind == "success"]
    return [it for it in successes if not {"response_format", "stream"} & it.call.keys()]


def _images(transcript: Transcript) -> list[str]:
    """Return the images of the answer as base64, those behind URLs too."""
    entries = (transcript.answer or {})["data"]
    return [entry.get("b64_json") or transcript.downloads[entry["url"]] for entry in entries]


def _expected_answer(transcript: Transcript) -> dict[str, Any]:
    """Return the answer in the form asked for, with the image itself in the place of a URL."""
    wanted, answer = transcript.call.get("response_format"), transcript.answer or {}
    entries = []
    for entry, image in zip(answer["data"], _images(transcript), strict=True):
        rest = {name: it for name, it in entry.items() if name not in ("url", "b64_json")}
        form = wanted or ("url" if "url" in entry else "b64_json")
        entries.append({form: image, **rest})
    return {**answer, "data": entries}


def _with_images(replay: Replay) -> dict[str, Any]:
    """Return the response with the image itself in the place of each URL."""
    entries = [
        {**entry, "url": _image_at(replay, entry["url"])} if "url" in entry else entry
        for entry in replay.body["data"]
    ]
    return {**replay.body, "data": entries}


def _completed(replay: Replay) -> list[str]:
    """Return the images of the completed events, as base64."""
    kind = "image_generation.completed"
    return [event["b64_json"] for event in replay.events if event["type"] == kind]


def _image_at(replay: Replay, url: str) -> str:
    """Return the image at a URL of the gateway's or the provider's, as base64."""
    return replay.blobs.get(url) or replay.transcript.downloads[url]


def _expected_receipt(transcript: Transcript) -> str:
    """Return the receipt written down, and what the gateway adds about missing images."""
    found, made = get_adapter(transcript.provider), len((transcript.answer or {}).get("data", []))
    missing = 0 if found.passthrough else transcript.n - made
    lost = f"failed images={missing}>incomplete" if made and missing > 0 else ""
    return ", ".join(filter(None, (transcript.receipt, lost)))


def _is_measured(replay: Replay) -> bool:
    """Whether the receipt has the size of an image, where the gateway has seen one."""
    seen = bool(replay.blobs) or "b64_json" in replay.text
    return (
        not seen
        or replay.transcript.is_relayed
        or "measured 1=" in replay.headers["x-easel-receipt"]
    )


def _expected_error(transcript: Transcript) -> tuple[int, dict[str, Any]]:
    """Return the status and body of the error: the provider's own, if it has OpenAI's shape."""
    with pytest.raises(ImageError) as caught:
        play(transcript)
    error = caught.value
    if isinstance(error, ProviderError) and error.body is not None:
        return error.status, _without_messages(orjson.loads(error.body))
    return error.status, _without_messages({"error": error.to_dict()})


def _without_messages(body: dict[str, Any]) -> dict[str, Any]:
    """Return an error's body without its messages."""
    error = {name: value for name, value in body["error"].items() if name != "message"}
    return {name: value for name, value in {**body, "error": error}.items() if name != "message"}
