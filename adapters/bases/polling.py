"""Waiting for a job at a provider by asking again.

class Acme(Jobs):
    pending_states = frozenset({"queued", "running"})
    job_at, asked_at = ("id",), "/jobs/{}"
    done, pictures_at = "succeeded", ("result", "urls")

    def build_request(self, call):                # submit

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
from adapters.errors import (
    FlowCancelled,
    ProviderError,
    error_from_reply,
    find_error_message,
    no_image_error,
)
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import dig, dig_str, find_urls
from adapters.tools.url_paths import quote_segment


def poll(
    adapter: Adapter,
    request: ProviderRequest,
    is_finished: Callable[[ProviderReply], bool],
    *,
    interval: float = 0.5,
    timeout: float = 600.0,
) -> Generator[ProviderRequest, ProviderReply, ProviderReply]:
    """Ask until `settled` says so of a reply, and give that one.

    Waits `interval` seconds before each question and gives up after `limit` seconds of waiting
    (504). An error status is raised as the adapter understands it, unless it is settled; but
    what is not found here is a job that was taken, and no model of the client's (502).
    """
    request = replace(request, delay=interval)
    for _ in range(int(timeout / interval)):
        reply = yield request
        if is_finished(reply):
            return reply
        if reply.status == HTTPStatus.NOT_FOUND:
            raise error_from_reply(
                reply, message=adapter.error_message(reply), status=HTTPStatus.BAD_GATEWAY
            )
        adapter.raise_for_status(reply)
    raise ProviderError(
        f"The provider was still working after {timeout:.0f} seconds.",
        status=504,
        code="timeout",
    )


def fetch_images(
    adapter: Adapter, paths: Iterable[str], **extra: Any
) -> Generator[ProviderRequest, ProviderReply, list[Image]]:
    """Fetch the pictures that a settled job left at these paths of the base URL, as bytes."""
    images = []
    for path in paths:
        reply = adapter.raise_for_status((yield ProviderRequest(path, method="GET")))
        if not (image := Image.from_reply(reply, **extra)):
            raise no_image_error(reply.status)
        images.append(image)
    return images


class PollingAdapter(Adapter):
    """A provider that takes a job and is asked about it until it is settled."""

    state_path: ClassVar[tuple[str | int, ...]] = ("status",)
    """Where the job's state stands in a reply."""
    pending_states: ClassVar[frozenset[str]] = frozenset()
    """States in which to ask again; any other, or none at all, is settled."""
    id_path: ClassVar[tuple[str | int, ...]] = ("id",)
    """Where the job's name stands in the reply to a submission."""
    poll_path: ClassVar[str] = ""
    """The path below the base URL at which a job is asked about; its name goes into the braces."""
    success_state: ClassVar[str] = ""
    """The state of a job that went well; any other settled one tells of a failure."""
    images_path: ClassVar[tuple[str | int, ...]] = ()
    """Where a finished job has the URL of its picture, or the list of them."""
    progress_path: ClassVar[tuple[str | int, ...]] = ()
    """Where a reply says how far the job is; () where none does."""
    progress_max: ClassVar[float] = 1.0
    """What stands there in the end."""
    poll_interval: ClassVar[float] = 1.0
    """Seconds between two questions."""
    poll_timeout: ClassVar[float] = 600.0
    """Seconds of waiting after which the job is given up."""

    def flow(self, call: ImageCall) -> Flow:
        """Submit, ask until it is settled, read."""
        return self.parse_answer(call, (yield from self.submit_and_poll(call)))

    def submit_and_poll(
        self, call: ImageCall
    ) -> Generator[ProviderRequest, ProviderReply, ProviderReply]:
        """Submit, ask until it is settled, and give the reply that says so."""
        reply = self.raise_for_status((yield self.build_request(call)))
        if question := self.poll_request(call, reply):
            reply = yield from self.poll_job(call, reply, question)
        return reply

    def poll_job(
        self, call: ImageCall, submitted: ProviderReply, question: ProviderRequest
    ) -> Generator[ProviderRequest, ProviderReply, ProviderReply]:
        """Ask until a submitted job is settled; have it cancelled if it is abandoned meanwhile."""
        try:
            return (
                yield from poll(
                    self,
                    question,
                    self.is_finished,
                    interval=self.poll_interval,
                    timeout=self.poll_timeout,
                )
            )
        except FlowCancelled:
            if request := self.cancel_request(call, submitted):
                yield request
            raise

    def cancel_request(self, call: ImageCall, submitted: ProviderReply) -> ProviderRequest | None:
        """Give the request that cancels a job; None where the provider is not known to have one."""
        del call, submitted
        return None

    def parse_progress(self, reply: ProviderReply) -> float | None:
        """Tell how far a job is, 0 to 1; None where the reply does not say."""
        if not self.progress_path:
            return None
        told = dig(reply.json(), *self.progress_path)
        if not isinstance(told, int | float) or isinstance(told, bool):
            return None
        return min(max(told / self.progress_max, 0.0), 1.0)

    def poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Give what to ask again and again after a submission; None when it is settled already."""
        del call
        return ProviderRequest(self.poll_path.format(self.job_id(reply)), method="GET")

    def job_id(self, reply: ProviderReply) -> str:
        """Give the job's name as it can stand in a path; raises where a reply names none."""
        if named := quote_segment(dig_str(reply.json(), *self.id_path)):
            return named
        raise (
            self.provider_error(reply)
            if find_error_message(reply)
            else no_image_error(reply.status)
        )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read a job that is settled: its pictures, or why there are none."""
        del call
        if self.parse_state(reply) != self.success_state:
            raise self.provider_error(reply)
        if images := tuple(self.parse_images(reply)):
            return Answer(images)
        raise no_image_error(reply.status)

    def parse_images(self, reply: ProviderReply) -> Iterable[Image]:
        """Read the pictures of a job that went well."""
        return map(Image.from_url, find_urls(dig(reply.json(), *self.images_path)))

    def error_message(self, reply: ProviderReply) -> str:
        """Find why a job failed, or what an error says; the job's state where nothing else is."""
        return find_error_message(reply) or self.parse_state(reply)

    def parse_state(self, reply: ProviderReply) -> str:
        """Give the job's state."""
        return dig_str(reply.json(), *self.state_path)

    def is_finished(self, reply: ProviderReply) -> bool:
        """Tell whether a reply shows the job's end."""
        return reply.ok and self.parse_state(reply) not in self.pending_states
