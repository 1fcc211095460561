"""What an official SDK puts on the wire, and what the gateway does for the same call.

Both follow one transcript: the SDK makes its call in words of its own, the gateway is sent it.
Every request of the two conversations is compared, whole: method, host, path, query, each header
that is not about the client itself, each leaf of the body. What differs on purpose is in INTENDED.

A signature depends on the host and the time, so the SDK's is held against the one that our adapter
makes for the very request that the SDK sent.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
import pytest

from adapters import get_adapter
from adapters.contract import SignableRequest
from tests.support.official_sdks import ASKINGS
from tests.support.replay import replay_transcript
from tests.support.transcript_provider import EveryHost
from tests.support.transcripts import FOLDER, Exchange, Reply, Request, Seen, Transcript, load

ROOT = Path(__file__).parent.parent.parent
FEWEST_PROVIDERS = 10
SECONDS = 60
NOTHING: Final = "(nothing)"

Differences = dict[str, tuple[Any, Any]]
"""What stands in a place (the request's method and what part of it): the SDK's, ours."""


class Intended(NamedTuple):
    """A difference that is meant to be, in the conversations of some transcripts (a pattern)."""

    transcripts: str
    place: str
    theirs: Any
    ours: Any
    why: str


INTENDED = (
    Intended(
        "azure-openai/*",
        "POST body.model",
        "pictures",
        NOTHING,
        "the path has named the deployment",
    ),
    Intended(
        "google/flash",
        "POST path",
        "/v1/models/gemini-3.1-flash-image:generateContent",
        "/v1beta/models/gemini-3.1-flash-image:generateContent",
        "it has all that v1 has, and the aliases -latest too, as the SDK's README says",
    ),
    *(
        Intended(
            f"vertex-ai/{transcript}",
            "POST path",
            f"/v1beta1/projects/my-project/locations/{model}",
            f"/v1/projects/my-project/locations/{model}",
            "the stable version, which the SDK's README says how to choose",
        )
        for transcript, model in (
            (
                "gemini-global",
                "global/publishers/google/models/gemini-3.1-flash-image:generateContent",
            ),
            (
                "imagen",
                "europe-west4/publishers/google/models/imagen-4.0-generate-001:predict",
            ),
        )
    ),
    Intended(
        "vertex-ai/imagen",
        "POST body.parameters.safetySetting",
        "BLOCK_ONLY_HIGH",
        "block_only_high",
        "the SDK's enumeration in capitals, the small letters of Google's REST reference",
    ),
    Intended("fal-ai/*", "GET query", "logs=false", "", "no logs are what is sent without it, too"),
    Intended(
        "huggingface/*",
        "POST header accept",
        "image/png",
        NOTHING,
        "the gateway reads the form of a picture from its bytes and takes any",
    ),
    *(
        Intended(
            f"huggingface/{provider}",
            "GET header authorization",
            NOTHING,
            "Bearer hf_test-key-0123456789",
            "a model that is not for everybody is found with the key only",
        )
        for provider in ("fal", "nscale", "together")
    ),
    Intended(
        "tencent/*",
        "POST body.LogoAdd",
        NOTHING,
        0,
        "every picture is marked unless that is declined",
    ),
    Intended(
        "leonardo/*", "POST body.public", NOTHING, ours=False, why="others would see the picture"
    ),
    Intended(
        "leonardo/*",
        "POST body.alchemy",
        theirs=True,
        ours=NOTHING,
        why="a default of the SDK's, left to the API",
    ),
    Intended("leonardo/*", "POST body.presetStyle", "DYNAMIC", NOTHING, "another one"),
)

_HUB = "https://huggingface.co/api"
_SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
ONLY_ASKED_BY_THE_SDK = (
    (
        "huggingface/*",
        Exchange(
            Request("GET", f"{_HUB}/agent-harnesses"),
            Reply(json={"standardEnvVars": [], "harnesses": {}}),
        ),
    ),
    (
        "huggingface/own",
        Exchange(
            Request("GET", f"{_HUB}/models/{_SDXL}"),
            Reply(json={"id": _SDXL, "pipeline_tag": "text-to-image"}),
        ),
    ),
)
"""What an SDK asks for first, to know who runs it and what a model is for."""

ABOUT_THE_CLIENT = (
    *(
        "via",
        "host",
        "connection",
        "content-length",
        "user-agent",
        "accept-encoding",
        "accept-language",
    ),
    # Which SDK it is, on which system, which of its attempts, and ids by which it is traced.
    *("x-stainless-*", "x-goog-api-client", "amz-sdk-*", "x-amzn-trace-id"),
    *("x-tc-requestclient", "x-tc-traceid", "x-tc-language"),
    *("source_type", "x-request-sdk", "x-source-channel", "zai-sdk-ver"),
)
"""Headers that say nothing of the call."""

_SIGNED = re.compile(r"SignedHeaders=([a-z0-9;-]+), ?Signature=")
_DATED = re.compile(r"(?<=/)(?:\d{8}|\d{4}-\d\d-\d\d)(?=/)|(?<=Signature=)[0-9a-f]{64}")
_WHEN = ("x-amz-date", "x-tc-timestamp")


@pytest.fixture(params=ASKINGS)
def transcript(request: pytest.FixtureRequest) -> Transcript:
    """Give every transcript whose call an SDK makes, if that SDK is installed."""
    package = ASKINGS[request.param].package
    try:
        version(package)
    except PackageNotFoundError:
        missing = f"{package} is missing: it comes with the extra `sdks`"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return load(FOLDER / f"{request.param}.json")


async def test_the_gateway_asks_what_the_sdk_asks(transcript: Transcript, tmp_path: Path) -> None:
    theirs = await asked_by_the_sdk(transcript, home=tmp_path)
    ours = (await replay_transcript(transcript)).provider.asked
    found: Differences = {}
    for one, other in zip(theirs, ours, strict=True):
        found |= differences(one, other)
    meant = [it for it in INTENDED if fnmatchcase(transcript.place, it.transcripts)]
    assert found == {it.place: (it.theirs, it.ours) for it in meant}


def test_enough_providers_are_compared() -> None:
    assert len({place.partition("/")[0] for place in ASKINGS}) >= FEWEST_PROVIDERS


async def asked_by_the_sdk(transcript: Transcript, home: Path) -> list[Seen]:
    """Let the SDK make the call of a transcript, and give what it asked."""
    extra = [it for of, it in ONLY_ASKED_BY_THE_SDK if fnmatchcase(transcript.place, of)]
    script = msgspec.structs.replace(transcript, exchanges=[*extra, *transcript.exchanges])
    async with EveryHost(script) as provider:
        await _run("tests.support.official_sdks", transcript.place, str(provider.port), home=home)
    for seen, body in zip(provider.asked, provider.bodies, strict=True):
        _hold_signature(seen, body, transcript)
    asked_first, asked = provider.asked[: len(extra)], provider.asked[len(extra) :]
    lines = [f"{it.request.method} {it.request.url}" for it in extra]
    assert [seen.line for seen in asked_first] == lines
    return asked


async def _run(module: str, *arguments: str, home: Path) -> None:
    """Run a module of ours to its end, with nothing of this machine's environment."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", module, *arguments),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, told.decode()[-2000:]


def _hold_signature(seen: Seen, body: bytes, transcript: Transcript) -> None:
    """Assert that our adapter would sign a request of the SDK's just as the SDK did."""
    theirs = seen.headers.get("authorization", "")
    if signed := _SIGNED.search(theirs):
        method, _, url = seen.line.partition(" ")
        given = {name: seen.headers[name] for name in signed[1].split(";")}
        own = {name: it for name, it in given.items() if not name.startswith(("x-amz-", "host"))}
        outgoing = SignableRequest(method, url, own, body, _time(seen))
        ours = get_adapter(transcript.provider).sign(outgoing, transcript.credentials)
        assert ours["authorization"] == theirs


def _time(seen: Seen) -> float:
    """Tell when the SDK signed a request."""
    if stamp := seen.headers.get("x-tc-timestamp"):
        return float(stamp)
    return datetime.strptime(seen.headers["x-amz-date"], "%Y%m%dT%H%M%S%z").timestamp()


def differences(theirs: Seen, ours: Seen) -> Differences:
    """Say where two requests differ."""
    one, other = dict(_leaves(theirs)), dict(_leaves(ours))
    pairs = {
        place: (one.get(place, NOTHING), other.get(place, NOTHING))
        for place in sorted(one.keys() | other.keys())
    }
    method = theirs.line.partition(" ")[0]
    return {f"{method} {place}": pair for place, pair in pairs.items() if pair[0] != pair[1]}


def _leaves(seen: Seen) -> Iterator[tuple[str, Any]]:
    """Take a request apart."""
    method, _, url = seen.line.partition(" ")
    parts = urlsplit(url)
    yield from (("method", method), ("host", parts.netloc))
    yield from (("path", parts.path or "/"), ("query", parts.query))
    for name, value in seen.headers.items():
        if not _is_any(name, ABOUT_THE_CLIENT) and (told := _plain(name, value)):
            yield f"header {name}", told
    yield from _below("body", next((part for part in seen.body if part is not None), None))


def _plain(name: str, value: str) -> str:
    """Leave out of a header what every client writes otherwise: the time, the charset of JSON."""
    if name in ("accept", "content-type"):
        value = value.partition(";")[0]
    if name == "accept" and value in ("*/*", "application/json"):
        return ""
    return "*" if name in _WHEN else _DATED.sub("*", value)


def _below(place: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """Give the leaves of a body, objects taken apart and lists left whole."""
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            yield from _below(f"{place}.{name}", value)
    else:
        yield place, tree


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
