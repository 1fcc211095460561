"""`PollingAdapter`: for a provider that starts a job and must be polled until it has finished.

    class Acme(PollingAdapter):
        id_path, poll_path = ("id",), "/jobs/{}"
        success_state, failed_states = "succeeded", frozenset({"failed", "canceled"})
        images_path = ("result", "urls")

        def build_request(self, call): ...  # submit the job

The class attributes describe how to poll and where the images are. A provider that differs
overrides `build_poll_request` (None if the job has finished already) or `parse_answer` (parse a
finished job, successful or not). One that can cancel a job overrides `build_cancel_request`.

A job in a state that the adapter does not know is still running: providers add such states. So
`failed_states` must hold every state that the provider's documentation lists as a bad end.
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
    says_something,
)
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.error_text import describe_body
from adapters.tools.json_access import dig, dig_str, find_urls
from adapters.tools.url_paths import quote_segment

MAX_UNREADABLE = 3
"""Replies in a row without a status of the job after which polling ends."""
_MAX_MEDIA_TYPE = 80


def poll(  # noqa: PLR0913 - what is polled, and what ends it
    adapter: Adapter,
    request: ProviderRequest,
    is_finished: Callable[[ProviderReply], bool],
    *,
    is_readable: Callable[[ProviderReply], bool] = lambda reply: reply.json() is not None,
    interval: float = 0.5,
    timeout: float = 600.0,
) -> Generator[ProviderRequest, ProviderReply, ProviderReply]:
    """Send `request` until `is_finished` is true for a reply, and return that reply.

    Waits `interval` seconds before each poll. Raises `ProviderError` after `timeout` seconds (504),
    and for an error status. A 404 means that the provider lost the job, so it becomes a 502.

    `is_readable` is whether a reply says anything about the job. The `MAX_UNREADABLE`th in a row
    that does not is the last: a JSON object is returned, for the words or the images in it; for
    anything else, such as the page of a proxy, it raises `ProviderError` (502).
    """
    request, unreadable = replace(request, delay=interval), 0
    for _ in range(int(timeout / interval)):
        reply = yield request
        if is_finished(reply):
            return reply
        if reply.status == HTTPStatus.NOT_FOUND:
            raise error_from_reply(
                reply, message=adapter.error_message(reply), status=HTTPStatus.BAD_GATEWAY
            )
        adapter.raise_for_status(reply)
        unreadable = 0 if is_readable(reply) else unreadable + 1
        if unreadable == MAX_UNREADABLE:
            if isinstance(reply.json(), dict):
                return reply
            raise _unreadable_error(reply)
    raise ProviderError(
        f"The provider was still working after {timeout:.0f} seconds.",
        status=504,
        code="timeout",
    )


def _unreadable_error(reply: ProviderReply) -> ProviderError:
    """Return the error for the last of several replies to polls that cannot be read."""
    words = describe_body(reply.body)
    media_type = reply.media_type[:_MAX_MEDIA_TYPE] or "no content type"
    return ProviderError(
        f"The provider's job cannot be followed: {MAX_UNREADABLE} replies in a row have no status "
        f"of the job (the last: {reply.status}, {media_type}{f', {words}' if words else ''}).",
        provider_status=reply.status,
        code="unreadable_status",
    )


def fetch_images(
    adapter: Adapter, paths: Iterable[str], **extra: Any
) -> Generator[ProviderRequest, ProviderReply, list[Image]]:
    """Download images from these paths below the base URL. `extra` is added to each image."""
    images = []
    for path in paths:
        reply = adapter.raise_for_status((yield ProviderRequest(path, method="GET")))
        if not (image := Image.from_reply(reply, **extra)):
            raise no_image_error(reply.status)
        images.append(image)
    return images


class PollingAdapter(Adapter):
    """A provider whose jobs are polled until they have finished."""

    state_path: ClassVar[tuple[str | int, ...]] = ("status",)
    """JSON path of the job's state in a reply."""
    id_path: ClassVar[tuple[str | int, ...]] = ("id",)
    """JSON path of the job's id in the reply to the submission."""
    poll_path: ClassVar[str] = ""
    """URL path, below the base URL, for polling; the job's id replaces the braces."""
    success_state: ClassVar[str] = ""
    """The state of a successful job."""
    failed_states: ClassVar[frozenset[str]] = frozenset()
    """The states of a job that ended badly; in any state but these the job is still running."""
    images_path: ClassVar[tuple[str | int, ...]] = ()
    """JSON path of the image's URL, or of the list of URLs, in a finished job."""
    progress_path: ClassVar[tuple[str | int, ...]] = ()
    """JSON path of the job's progress; () if replies have none."""
    progress_max: ClassVar[float] = 1.0
    """The value of the progress when the job has finished."""
    poll_interval: ClassVar[float] = 1.0
    """Seconds between two polls."""
    poll_timeout: ClassVar[float] = 600.0
    """Seconds of polling after which the job fails with a 504."""

    def flow(self, call: ImageCall) -> Flow:
        """Submit the job, poll until it has finished, parse the result."""
        return self.parse_answer(call, (yield from self.submit_and_poll(call)))

    def submit_and_poll(
        self, call: ImageCall
    ) -> Generator[ProviderRequest, ProviderReply, ProviderReply]:
        """Submit the job, poll until it has finished, and return the last reply."""
        reply = self.raise_for_status((yield self.build_request(call)))
        if request := self.build_poll_request(call, reply):
            reply = yield from self.poll_job(call, reply, request)
        return reply

    def poll_job(
        self, call: ImageCall, submitted: ProviderReply, request: ProviderRequest
    ) -> Generator[ProviderRequest, ProviderReply, ProviderReply]:
        """Poll a submitted job until it has finished; cancel it if the flow is cancelled."""
        try:
            return (
                yield from poll(
                    self,
                    request,
                    self.is_finished,
                    is_readable=self.is_readable,
                    interval=self.poll_interval,
                    timeout=self.poll_timeout,
                )
            )
        except FlowCancelled:
            if cancellation := self.build_cancel_request(call, submitted):
                yield cancellation
            raise

    def build_cancel_request(
        self, call: ImageCall, submitted: ProviderReply
    ) -> ProviderRequest | None:
        """Return the request that cancels a job, None if the provider has none."""
        del call, submitted
        return None

    def parse_progress(self, reply: ProviderReply) -> float | None:
        """Return the job's progress, 0 to 1; None if the reply has none."""
        if not self.progress_path:
            return None
        progress = dig(reply.json(), *self.progress_path)
        if not isinstance(progress, int | float) or isinstance(progress, bool):
            return None
        return min(max(progress / self.progress_max, 0.0), 1.0)

    def build_poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Return the request to poll with; None if the job has finished already."""
        del call
        return ProviderRequest(self.poll_path.format(self.parse_job_id(reply)), method="GET")

    def parse_job_id(self, reply: ProviderReply) -> str:
        """Return the job's id, percent-encoded for a URL path. Raises if the reply has none."""
        if job_id := quote_segment(dig_str(reply.json(), *self.id_path)):
            return job_id
        raise (
            self.provider_error(reply)
            if find_error_message(reply)
            else no_image_error(reply.status)
        )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse a finished job. Raises `ProviderError` if it failed."""
        del call
        if self.parse_state(reply) != self.success_state:
            raise self.provider_error(reply)
        if images := tuple(self.parse_images(reply)):
            return Answer(images)
        raise no_image_error(reply.status)

    def parse_images(self, reply: ProviderReply) -> Iterable[Image]:
        """Return the images of a successful job."""
        return map(Image.from_url, find_urls(dig(reply.json(), *self.images_path)))

    def error_message(self, reply: ProviderReply) -> str:
        """Return the error message of a failed job, or else its state."""
        nothing = "a job without a status" if reply.ok else ""
        return find_error_message(reply) or self.parse_state(reply) or nothing

    def parse_state(self, reply: ProviderReply) -> str:
        """Return the job's state, also one that is a number; "" if the reply has none."""
        state = dig(reply.json(), *self.state_path)
        is_state = isinstance(state, str | int) and not isinstance(state, bool)
        return str(state) if is_state else ""

    def is_finished(self, reply: ProviderReply) -> bool:
        """Whether a reply is that of a finished job: its state is final, or it is only an error."""
        if not reply.ok:
            return False
        if state := self.parse_state(reply):
            return state == self.success_state or state in self.failed_states
        return says_something(dig(reply.json(), "error"))

    def is_readable(self, reply: ProviderReply) -> bool:
        """Whether a reply has a job's state."""
        return bool(self.parse_state(reply))
