"""The rows of the table: the failure, the client, what is promised, and the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from openai import AsyncOpenAI
from portkey_ai import AsyncPortkey

from .client import INCOMPLETE
from .provider import (
    HALF,
    SIZE,
    Behaviour,
    abort_early,
    abort_mid_body,
    answer_slowly,
    begin_then_hold,
    hold,
)
from .scenarios import (
    Scenario,
    cut_stream_then_repeat,
    cut_then_retry,
    hundred_at_once,
    leave_then_retry,
    repeat_with_same_key,
    request_once,
    restart_gateway,
    retry_after_504,
    retry_if_cut,
    reuse_key,
    sdk_after_cut,
    sdk_after_timeout,
    sdk_once,
    sdk_repeats_after_504,
    sdk_repeats_cut_stream,
    time_out_then_retry,
)

IMAGE = "an image"


@dataclass(frozen=True)
class Row:
    """A failure, the client, and the promise as (paid calls, images); None if there is none."""

    failure: str
    client: str
    behaviour: Behaviour
    scenario: Scenario
    promise: tuple[int, int] | None = (1, 1)


def rows(folder: Path) -> list[Row]:
    """Return all rows, in the table's order."""
    cached = '{"virtual_key": "up", "cache": {"mode": "simple"}}'
    finished = restart_gateway(folder / "1", finished=True)
    unfinished = restart_gateway(folder / "2", finished=False)
    marked, key = "marks its retry", "sends an `Idempotency-Key`"
    plain = [
        Row("connection cut before the headers", marked, hold, cut_then_retry(None)),
        Row("connection cut after the headers", marked, begin_then_hold, cut_then_retry(0)),
        Row("connection cut in the body", marked, begin_then_hold, cut_then_retry(HALF)),
        Row("client disconnects, retries when the image is ready", marked, hold, leave_then_retry),
        Row(
            "client times out, retries before the image is ready", marked, hold, time_out_then_retry
        ),
        Row("`jobs.wait_seconds` exceeded: 504", marked, hold, retry_after_504),
        Row("stream cut", key, begin_then_hold, cut_stream_then_repeat),
        Row("the same request three times", key, hold, repeat_with_same_key),
        Row("another request with the same key", key, hold, reuse_key),
        Row("100 equal concurrent requests", "simple cache", hold, hundred_at_once(cached)),
        Row("100 equal concurrent requests", "no cache", hold, hundred_at_once("up"), (100, 100)),
        Row("provider slow, sends small chunks", "waits", answer_slowly, request_once),
        Row(
            "provider aborts before the headers",
            "respects `x-should-retry`",
            abort_early,
            request_once,
            (1, 0),
        ),
        Row("provider aborts in the body", marked, abort_mid_body, retry_if_cut, (1, 0)),
        Row("SIGTERM after the image is ready, restart", marked, hold, finished),
        Row("SIGTERM while it is being generated, restart", marked, hold, unfinished),
    ]
    return [
        *plain,
        *_sdk_rows(AsyncOpenAI, "OpenAI's SDK"),
        *_sdk_rows(AsyncPortkey, "Portkey's SDK"),
    ]


def _sdk_rows(sdk: type, name: str) -> list[Row]:
    """Return the rows of an SDK."""
    keyed, itself = f"{name}, app sends a key", f"{name}, own retries"
    exceeded = "`jobs.wait_seconds` exceeded: 504"
    after_504 = Row(exceeded, keyed, hold, sdk_repeats_after_504(sdk))
    if sdk is AsyncOpenAI:
        after_504 = Row(exceeded, itself, answer_slowly, sdk_once(sdk, strict=True))
    with_timeout = sdk_once(sdk, {"x-portkey-request-timeout": "1000"})
    return [
        Row("connection cut while waiting", itself, hold, sdk_after_cut(sdk, None)),
        Row("connection cut in the body", itself, begin_then_hold, sdk_after_cut(sdk, HALF)),
        Row("client times out", itself, hold, sdk_after_timeout(sdk)),
        after_504,
        Row("stream cut", keyed, begin_then_hold, sdk_repeats_cut_stream(sdk)),
        Row("`x-portkey-request-timeout` exceeded: 408", itself, hold, with_timeout, (1, 0)),
        Row("provider aborts before the headers", itself, abort_early, sdk_once(sdk), (1, 0)),
        Row("provider aborts in the body", itself, abort_mid_body, sdk_once(sdk), (1, 0)),
    ]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a row."""

    row: Row
    calls: int
    results: Sequence[str]

    @property
    def images(self) -> int:
        """Number of different images that were delivered completely."""
        return len({it for it in self.results if len(it) == SIZE})

    @property
    def passed(self) -> bool:
        """Whether the promise was kept and no incomplete image was delivered as complete."""
        return INCOMPLETE not in self.results and self.row.promise in (
            None,
            (self.calls, self.images),
        )

    def cells(self) -> str:
        """Return the row of the table."""
        words = [IMAGE if len(it) == SIZE else it for it in self.results]
        runs = [(word, len(list(run))) for word, run in groupby(words)]
        result = ", then ".join(
            f"{count} times {word}" if count > 1 else word for word, count in runs
        )
        verdict = ("yes" if self.passed else "**broken**") if self.row.promise else "no promise"
        cells = (self.row.failure, self.row.client, result, self.calls, self.images, verdict)
        return f"| {' | '.join(map(str, cells))} |"
