"""Fewer pictures than were asked for: never in silence."""

from __future__ import annotations

from aiohttp import web

from adapters.errors import ImageError, ProviderError
from adapters.table.receipt import ReceiptLine, sanitize
from proxy.context import ATTEMPT
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt, MadeImages
from proxy.routing.fallback import failure_status


class IncompleteImages(ProviderError):
    """Some pictures were `made`, by the targets beside them; another is to make what is missing."""

    def __init__(self, made: MadeImages, missing: int, why: ImageError) -> None:
        super().__init__(
            f"{missing} of the pictures were not made.",
            code="incomplete",
            provider_status=failure_status(why),
        )
        self.images = made
        self.missing = missing


def requested_count(attempt: Attempt) -> int:
    """Give how many pictures an attempt is for; who speaks the client's shape counts for itself."""
    if not attempt.target.adapter.passthrough:
        return sum(call.n for call in attempt.calls)
    n = attempt.params.get("n")
    return n if isinstance(n, int) and not isinstance(n, bool) else 1


def handle_missing(
    request: web.Request, images: MadeImages, missing: int, error: ImageError
) -> None:
    """Say that pictures are `missing` beside those that were `made`.

    What was made is the client's: it has been paid for. But the plan may have another target make
    the others (raises `Incomplete`), or the settings make it a failure (raises `why`).
    """
    attempt = request[ATTEMPT]
    attempt.receipt = attempt.receipt.with_lines(failed_line(missing, error))
    if attempt.completes_elsewhere:
        raise IncompleteImages(images, missing, error)
    if request[SNAPSHOT].settings.images.incomplete == "fail":
        raise error
    if attempt.capture:
        # What is not complete is not kept.
        attempt.capture.discard()


def failed_line(missing: int, error: ImageError) -> ReceiptLine:
    """Say it in a receipt, which is a header line: a provider may call anything its code."""
    return ReceiptLine("failed", "pictures", str(missing), sanitize(error.code or error.status))


def too_few_images(missing: int) -> ProviderError:
    """Say that a provider made fewer pictures than it was asked for."""
    return ProviderError(
        f"The provider made {missing} fewer pictures than asked.", code="incomplete"
    )
