"""Waiting for a job at a provider by asking again.

class Acme(Jobs):
    under_way = frozenset({"queued", "running"})

    def request(self, call):                # submit
    def question(self, call, reply):        # what to ask again and again; None: it is settled
    def answer(self, call, reply):          # read a job that is settled, well or not
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import ClassVar

from adapters.contract import Adapter, Flow, ImageCall, ProviderReply, ProviderRequest
from adapters.errors import ProviderError
from adapters.reading import text_at


def poll(
    adapter: Adapter,
    question: ProviderRequest,
    settled: Callable[[ProviderReply], bool],
    *,
    interval: float = 0.5,
    limit: float = 600.0,
) -> Generator[ProviderRequest, ProviderReply, ProviderReply]:
    """Ask until `settled` says so of a reply, and give that one.

    Waits `interval` seconds before each question and gives up after `limit` seconds of waiting
    (504). An error status is raised as the adapter understands it, unless it is settled.
    """
    question = replace(question, wait=interval)
    for _ in range(int(limit / interval)):
        reply = yield question
        if settled(reply):
            return reply
        adapter.checked(reply)
    raise ProviderError(
        f"The provider was still working after {limit:.0f} seconds.",
        status=504,
        code="timeout",
    )


class Jobs(Adapter):
    """A provider that takes a job and is asked about it until it is settled."""

    state_at: ClassVar[tuple[str | int, ...]] = ("status",)
    """Where the job's state stands in a reply."""
    under_way: ClassVar[frozenset[str]] = frozenset()
    """States in which to ask again; any other, or none at all, is settled."""
    interval: ClassVar[float] = 1.0
    """Seconds between two questions."""
    limit: ClassVar[float] = 600.0
    """Seconds of waiting after which the job is given up."""

    def flow(self, call: ImageCall) -> Flow:
        """Submit, ask until it is settled, read."""
        reply = self.checked((yield self.request(call)))
        if question := self.question(call, reply):
            reply = yield from poll(
                self, question, self.is_settled, interval=self.interval, limit=self.limit
            )
        return self.answer(call, reply)

    def question(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Give what to ask again and again after a submission; None when it is settled already."""
        raise NotImplementedError

    def state(self, reply: ProviderReply) -> str:
        """Give the job's state."""
        return text_at(reply.json(), *self.state_at)

    def is_settled(self, reply: ProviderReply) -> bool:
        """Tell whether a reply shows the job's end."""
        return reply.ok and self.state(reply) not in self.under_way
