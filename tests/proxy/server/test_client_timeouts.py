"""How long clients may take, by a clock of the tests' own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.server.client_timeouts import MIN_BODY_RATE, ClientTimeouts, RequestTooSlow
from proxy.settings.schema import Timeouts

TIMES = Timeouts(head=10, body=10, unread=10)


class Body:
    """A body of which some bytes have come."""

    def __init__(self) -> None:
        self.total_raw_bytes = 0
        self.failure: Exception | None = None

    def is_eof(self) -> bool:
        return self.failure is not None

    def set_exception(self, failure: Exception) -> None:
        self.failure = failure

    def feed_eof(self) -> None:
        assert self.failure


class Connection:
    """A connection as the server has it; `cuts` says how it was ended."""

    def __init__(self, *, requests: int = 0, body: Body | None = None) -> None:
        self.transport: Any = self
        self.unread = 0
        self.cuts: list[str] = []
        self._request_count = requests
        self.writer = SimpleNamespace(output_size=0)
        self.content = body
        self._current_request = self if body else None

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.cuts.append("aborted")
        self.transport = None

    def close(self) -> None:
        self.cuts.append("closed")

    def force_close(self) -> None:
        self.cuts.append("closed")
        self.transport = None


def looking(connection: Connection) -> ClientTimeouts:
    server = SimpleNamespace(connections=[cast("RequestHandler", connection)])
    return ClientTimeouts(cast("web.Server", server), TIMES)


def test_a_head_has_its_time_from_the_first_look_on() -> None:
    slow = Connection()
    watch = looking(slow)
    watch.sweep(0)
    watch.sweep(9)
    assert slow.cuts == []
    watch.sweep(10)
    assert slow.cuts == ["closed"]


def test_a_connection_that_idles_after_a_request_is_not_ours_to_end() -> None:
    idle = Connection(requests=1)
    watch = looking(idle)
    for now in range(100):
        watch.sweep(now)
    assert idle.cuts == []


def test_a_body_has_more_time_the_more_of_it_has_come() -> None:
    body = Body()
    slow = Connection(requests=1, body=body)
    watch = looking(slow)
    watch.sweep(0)
    body.total_raw_bytes = 20 * MIN_BODY_RATE
    watch.sweep(29)
    assert slow.cuts == []
    watch.sweep(30)
    assert slow.cuts == ["closed"]
    assert isinstance(body.failure, RequestTooSlow)


def test_the_next_body_has_a_time_of_its_own() -> None:
    body = Body()
    busy = Connection(requests=1, body=body)
    watch = looking(busy)
    for now in range(100):
        busy._request_count = now // 5
        watch.sweep(now)
    assert busy.cuts == []


def test_a_client_is_cut_that_takes_nothing_in_however_much_is_written() -> None:
    deaf = Connection(requests=1, body=Body())
    watch = looking(deaf)
    for now in range(11):
        assert deaf.cuts == []
        deaf.unread = deaf.writer.output_size = 1000 * (now + 1)
        watch.sweep(now)
    assert deaf.cuts == ["aborted"]


def test_a_client_that_takes_a_little_is_not_cut() -> None:
    slow = Connection(requests=1, body=Body())
    watch = looking(slow)
    for now in range(100):
        slow.writer.output_size += 1000
        slow.unread += 999
        watch.sweep(now)
    assert slow.cuts == []
