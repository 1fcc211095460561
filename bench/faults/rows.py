"""The faults, who meets them, what is promised; and what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from openai import AsyncOpenAI
from portkey_ai import AsyncPortkey

from .provider import HALF, SIZE, Play, begins, cuts, cuts_half_way, is_slow, waits
from .scene import OTHER
from .stories import (
    Story,
    by_itself,
    cut_and_marked,
    cut_events,
    events_with_key,
    gone_and_back,
    hundred,
    just,
    key_of_another,
    late_and_back,
    late_by_itself,
    once,
    once_more,
    raised_and_keyed,
    restarted,
    same_key,
    told_to_come_back,
)

PICTURE = "a picture"


@dataclass(frozen=True)
class Row:
    """A fault, who meets it, and what is promised: paid calls and pictures. None: nothing."""

    fault: str
    client: str
    play: Play
    story: Story
    promise: tuple[int, int] | None = (1, 1)


def rows(folder: Path) -> list[Row]:
    """Give all stories, in the table's order."""
    cached = '{"virtual_key": "up", "cache": {"mode": "simple"}}'
    made, making = restarted(folder / "1", finished=True), restarted(folder / "2", finished=False)
    marked, key = "marks its retry", "sends an `Idempotency-Key`"
    plain = [
        Row("connection cut before the headers", marked, waits, cut_and_marked(None)),
        Row("connection cut after the headers", marked, begins, cut_and_marked(0)),
        Row("connection cut in mid-body", marked, begins, cut_and_marked(HALF)),
        Row("client gone while waiting, back when it is made", marked, waits, gone_and_back),
        Row("client's timeout, back before it is made", marked, waits, late_and_back),
        Row("`jobs.wait_seconds` over: 504", marked, waits, told_to_come_back),
        Row("events cut", key, begins, events_with_key),
        Row("the same request three times", key, waits, same_key),
        Row("another request with the same key", key, waits, key_of_another),
        Row("100 equal requests at once", "simple cache", waits, hundred(cached)),
        Row("100 equal requests at once", "no cache", waits, hundred("up"), (100, 100)),
        Row("provider slow, and in small pieces", "waits", is_slow, once),
        Row("provider cuts before the headers", "obeys", cuts, once, (1, 0)),
        Row("provider cuts in mid-body", marked, cuts_half_way, once_more, (1, 0)),
        Row("SIGTERM once it is made, and restart", marked, waits, made),
        Row("SIGTERM while it is made, and restart", marked, waits, making),
    ]
    return [*plain, *_by(AsyncOpenAI, "OpenAI's SDK"), *_by(AsyncPortkey, "Portkey's SDK")]


def _by(sdk: type, name: str) -> list[Row]:
    """Give the stories of an SDK."""
    keyed, itself = f"{name}, and its app a key", f"{name}, by itself"
    over = "`jobs.wait_seconds` over: 504"
    told = Row(over, keyed, waits, raised_and_keyed(sdk))
    if sdk is AsyncOpenAI:
        told = Row(over, itself, is_slow, just(sdk, strict=True))
    in_time = just(sdk, {"x-portkey-request-timeout": "1000"})
    return [
        Row("connection cut while waiting", itself, waits, by_itself(sdk, None)),
        Row("connection cut in mid-body", itself, begins, by_itself(sdk, HALF)),
        Row("client's timeout", itself, waits, late_by_itself(sdk)),
        told,
        Row("events cut", keyed, begins, cut_events(sdk)),
        Row("`x-portkey-request-timeout` over: 408", itself, waits, in_time, (1, 0)),
        Row("provider cuts before the headers", itself, cuts, just(sdk), (1, 0)),
        Row("provider cuts in mid-body", itself, cuts_half_way, just(sdk), (1, 0)),
    ]


@dataclass(frozen=True)
class Seen:
    """What came of a row."""

    row: Row
    calls: int
    got: Sequence[str]

    @property
    def pictures(self) -> int:
        """How many different pictures arrived whole."""
        return len({it for it in self.got if len(it) == SIZE})

    @property
    def kept(self) -> bool:
        """Whether what is promised is what came: and never a part for the whole."""
        return OTHER not in self.got and self.row.promise in (None, (self.calls, self.pictures))

    def cells(self) -> str:
        """Write the row of the table."""
        words = [PICTURE if len(it) == SIZE else it for it in self.got]
        runs = [(word, len(list(run))) for word, run in groupby(words)]
        told = ", then ".join(
            f"{count} times {word}" if count > 1 else word for word, count in runs
        )
        verdict = ("yes" if self.kept else "**broken**") if self.row.promise else "no promise"
        cells = (self.row.fault, self.row.client, told, self.calls, self.pictures, verdict)
        return f"| {' | '.join(map(str, cells))} |"
