"""Waiting for a job at a provider by asking again.

class Acme(Jobs):
    under_way = frozenset({"queued", "running"})
    job_at, asked_at = ("id",), "/jobs/{}"
    done, pictures_at = "succeeded", ("result", "urls")

    def request(self, call):                # submit

What is asked of the job and how its end is read follow from these words; a provider that differs
writes `question` (what to ask again and again; None: it is settled) or `answer` (read a job that
is settled, well or not) itself. One that can cancel a job writes `cancellation`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, ClassVar

from adapters.contract import Adapter, Answer, Flow, Image, ImageCall
from adapters.errors import Abandoned, ProviderError, failure, no_picture, told
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import at, places, text_at
from adapters.tools.url_paths import step


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
    (504). An error status is raised as the adapter understands it, unless it is settled; but
    what is not found here is a job that was taken, and no model of the client's (502).
    """
    question = replace(question, wait=interval)
    for _ in range(int(limit / interval)):
        reply = yield question
        if settled(reply):
            return reply
        if reply.status == HTTPStatus.NOT_FOUND:
            raise failure(
                reply, message=adapter.error_message(reply), status=HTTPStatus.BAD_GATEWAY
            )
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
        if not (image := Image.in_body(reply, **extra)):
            raise no_picture(reply.status)
        images.append(image)
    return images


class Jobs(Adapter):
    """A provider that takes a job and is asked about it until it is settled."""

    state_at: ClassVar[tuple[str | int, ...]] = ("status",)
    """Where the job's state stands in a reply."""
    under_way: ClassVar[frozenset[str]] = frozenset()
    """States in which to ask again; any other, or none at all, is settled."""
    job_at: ClassVar[tuple[str | int, ...]] = ("id",)
    """Where the job's name stands in the reply to a submission."""
    asked_at: ClassVar[str] = ""
    """The path below the base URL at which a job is asked about; its name goes into the braces."""
    done: ClassVar[str] = ""
    """The state of a job that went well; any other settled one tells of a failure."""
    pictures_at: ClassVar[tuple[str | int, ...]] = ()
    """Where a finished job has the URL of its picture, or the list of them."""
    progress_at: ClassVar[tuple[str | int, ...]] = ()
    """Where a reply says how far the job is; () where none does."""
    progress_whole: ClassVar[float] = 1.0
    """What stands there in the end."""
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
            reply = yield from self.waited(call, reply, question)
        return reply

    def waited(
        self, call: ImageCall, submitted: ProviderReply, question: ProviderRequest
    ) -> Generator[ProviderRequest, ProviderReply, ProviderReply]:
        """Ask until a submitted job is settled; have it cancelled if it is abandoned meanwhile."""
        try:
            return (
                yield from poll(
                    self, question, self.is_settled, interval=self.interval, limit=self.limit
                )
            )
        except Abandoned:
            if request := self.cancellation(call, submitted):
                yield request
            raise

    def cancellation(self, call: ImageCall, submitted: ProviderReply) -> ProviderRequest | None:
        """Give the request that cancels a job; None where the provider is not known to have one."""
        del call, submitted
        return None

    def progress(self, reply: ProviderReply) -> float | None:
        """Tell how far a job is, 0 to 1; None where the reply does not say."""
        if not self.progress_at:
            return None
        told = at(reply.json(), *self.progress_at)
        if not isinstance(told, int | float) or isinstance(told, bool):
            return None
        return min(max(told / self.progress_whole, 0.0), 1.0)

    def question(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Give what to ask again and again after a submission; None when it is settled already."""
        del call
        return ProviderRequest(self.asked_at.format(self.job(reply)), method="GET")

    def job(self, reply: ProviderReply) -> str:
        """Give the job's name as it can stand in a path; raises where a reply names none."""
        if named := step(text_at(reply.json(), *self.job_at)):
            return named
        raise self.error(reply) if told(reply) else no_picture(reply.status)

    def answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read a job that is settled: its pictures, or why there are none."""
        del call
        if self.state(reply) != self.done:
            raise self.error(reply)
        if images := tuple(self.pictures(reply)):
            return Answer(images)
        raise no_picture(reply.status)

    def pictures(self, reply: ProviderReply) -> Iterable[Image]:
        """Read the pictures of a job that went well."""
        return map(Image.at, places(at(reply.json(), *self.pictures_at)))

    def told(self, reply: ProviderReply) -> str:
        """Find why a job failed, or what an error says; the job's state where nothing else is."""
        return told(reply) or self.state(reply)

    def state(self, reply: ProviderReply) -> str:
        """Give the job's state."""
        return text_at(reply.json(), *self.state_at)

    def is_settled(self, reply: ProviderReply) -> bool:
        """Tell whether a reply shows the job's end."""
        return reply.ok and self.state(reply) not in self.under_way
