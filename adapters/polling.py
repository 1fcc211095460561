"""Waiting for a job at a provider by asking again.

class Acme(Jobs):
    under_way = frozenset({"queued", "running"})

    def request(self, call):                # submit
    def question(self, call, reply):        # what to ask again and again; None: it is settled
    def answer(self, call, reply):          # read a job that is settled, well or not
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from typing import Any, ClassVar

from adapters.contract import Adapter, Flow, Image, ImageCall, ProviderReply, ProviderRequest
from adapters.errors import ProviderError, no_picture
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


def fetched(
    adapter: Adapter, paths: Iterable[str], **extra: Any
) -> Generator[ProviderRequest, ProviderReply, list[Image]]:
    """Fetch the pictures that a settled job left at these paths of the base URL, as bytes."""
    images = []
    for path in paths:
        reply = adapter.checked((yield ProviderRequest(path, method="GET")))
        if not (reply.body and reply.media_type.startswith("image/")):
            raise no_picture(reply.status)
        images.append(Image(data=reply.body, media_type=reply.media_type, extra=extra))
    return images


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
        return self.answer(call, (yield from self.settled(call)))

    def settled(self, call: ImageCall) -> Generator[ProviderRequest, ProviderReply, ProviderReply]:
        """Submit, ask until it is settled, and give the reply that says so."""
        reply = self.checked((yield self.request(call)))
        if question := self.question(call, reply):
            reply = yield from poll(
                self, question, self.is_settled, interval=self.interval, limit=self.limit
            )
        return reply

    def question(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Give what to ask again and again after a submission; None when it is settled already."""
        raise NotImplementedError

    def state(self, reply: ProviderReply) -> str:
        """Give the job's state."""
        return text_at(reply.json(), *self.state_at)

    def is_settled(self, reply: ProviderReply) -> bool:
        """Tell whether a reply shows the job's end."""
        return reply.ok and self.state(reply) not in self.under_way
