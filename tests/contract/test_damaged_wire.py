"""Any success of any transcript, damaged but readable, is delivered and paid for once.

The replies go through the running gateway, over real sockets. `test_damaged_replies` has the same
for the adapters alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters import PROVIDERS
from tests.support.replay import Replay, replay_transcript
from tests.support.transcripts import Reply, Transcript, naming, transcripts_of

Damage = Callable[[str], str]


_OBJECT = re.compile(r"^((?:data:)?\s*)\{(\s*\})?", re.MULTILINE)
"""The start of an event's object."""


def with_member(text: str) -> Damage:
    """Return the damage of one more member in the first object of a text, and of each event."""

    def put_in(found: re.Match[str]) -> str:
        return f"{found[1]}{{{text}}}" if found[2] else f"{found[1]}{{{text},"

    def damage(body: str) -> str:
        return _OBJECT.sub(put_in, body, count=0 if body.startswith(_EVENT_STARTS) else 1)

    return damage


MEMBERS: dict[str, Damage] = {
    "NaN": with_member('"odd_one": [NaN]'),
    "Infinity": with_member('"odd_two": -Infinity'),
    "half a surrogate pair": with_member('"odd_three": "a cube \\ud83d"'),
    "an unknown member": with_member('"odd_four": {"status": {"error": []}}'),
    "an empty error": with_member('"error": {"message": "", "type": "", "code": null}'),
}
_EVENT_STARTS = ("data:", "event:", "id:", ":")
BOM, BLANKS = "a byte order mark", "blanks"
TYPES = ("text/plain", "application/octet-stream", "application/json", "text/html; charset=x", "")
SUCCESSES = [
    it for name in PROVIDERS for it in transcripts_of(name) if it.kind == "success" and it.exchanges
]

STREAMS = [it for it in SUCCESSES if any(each.reply.sse is not None for each in it.exchanges)]


def damaged(reply: Reply, damages: set[str], media_type: str) -> Reply:
    """Return a reply with members, a byte order mark, blanks and another content type."""
    headers = {**reply.wire_headers, "content-type": media_type}
    if not media_type:
        del headers["content-type"]
    if reply.base64 is not None:
        return msgspec.structs.replace(reply, headers=headers)
    body = reply.body.decode()
    for name in sorted(damages & MEMBERS.keys()):
        body = MEMBERS[name](body)
    if BLANKS in damages:
        body = f"\r\n {body}\n\n" if reply.sse is None else f": hello\n\n{body}\n\n"
    body = "\ufeff" * (BOM in damages) + body
    if reply.sse is None:
        return Reply(reply.status, headers, text=body)
    return Reply(reply.status, headers, sse=body)


@cache
def usual() -> dict[str, Any]:
    """The images of the successes as they are, by place; filled as they are played."""
    return {}


def images(replay: Replay) -> list[Any]:
    if replay.headers["content-type"].startswith("text/event-stream"):
        # Relayed events are not written anew: NaN stays in them. `json` reads it, as SDKs do.
        lines = [it for it in replay.text.splitlines() if it.startswith("data: ")]
        events = [json.loads(it.removeprefix("data: ")) for it in lines]
        return [it["b64_json"] for it in events if "partial" not in it.get("type", "")]
    found = [entry.get("b64_json") or entry["url"] for entry in replay.body["data"]]
    return [replay.blobs.get(it, it) for it in found]


@settings(
    max_examples=110,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    st.sampled_from(SUCCESSES) | st.sampled_from(STREAMS),
    st.sets(st.sampled_from([*sorted(MEMBERS), BOM, BLANKS])),
    st.sampled_from(TYPES),
)
async def test_a_damaged_success_is_delivered_and_paid_once(
    transcript: Transcript,
    damages: set[str],
    media_type: str,
) -> None:
    with naming(transcript):
        if transcript.place not in usual():
            usual()[transcript.place] = images(await replay_transcript(transcript))
        exchanges = [
            msgspec.structs.replace(
                it,
                reply=damaged(it.reply, damages, media_type),
            )
            for it in transcript.exchanges
        ]
        replay = await replay_transcript(msgspec.structs.replace(transcript, exchanges=exchanges))
        assert replay.status == 200, replay.text[:300]
        assert images(replay) == usual()[transcript.place]
        assert len(replay.provider.asked) == len(transcript.exchanges)
