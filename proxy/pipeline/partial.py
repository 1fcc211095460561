"""Handles responses with fewer images than requested: completed, reported, or an error."""

from __future__ import annotations

from aiohttp import web

from adapters.errors import ImageError, ProviderError
from adapters.table.receipt import ReceiptLine, sanitize
from proxy.context import ATTEMPT
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt, MadeImages
from proxy.routing.fallback import failure_status


class IncompleteImages(ProviderError):
    """Some `images` were made; another target is to generate the `missing` ones."""

    def __init__(self, made: MadeImages, missing: int, why: ImageError) -> None:
        super().__init__(
            f"{missing} of the requested images were not generated.",
            code="incomplete",
            provider_status=failure_status(why),
        )
        self.images = made
        self.missing = missing


def requested_count(attempt: Attempt) -> int:
    """Return how many images an attempt requests.

    A provider with OpenAI's API receives `n` unchanged; others receive it split over calls.
    """
    if not attempt.target.adapter.passthrough:
        return sum(call.n for call in attempt.calls)
    n = attempt.params.get("n")
    return n if isinstance(n, int) and not isinstance(n, bool) else 1


def handle_missing(
    request: web.Request, images: MadeImages, missing: int, error: ImageError
) -> None:
    """Handle an attempt that made `images` and failed to make `missing` others because of `error`.

    The client gets the images that were paid for, and a receipt line on the others. But if another
    target can complete them, this raises `IncompleteImages`; if `images.incomplete` is `fail`, it
    raises `error`.
    """
    attempt = request[ATTEMPT]
    attempt.receipt = attempt.receipt.with_lines(failed_line(missing, error))
    if attempt.completes_elsewhere:
        raise IncompleteImages(images, missing, error)
    if request[SNAPSHOT].settings.images.incomplete == "fail":
        raise error
    if attempt.capture:
        # An incomplete response is not cached.
        attempt.capture.discard()


def failed_line(missing: int, error: ImageError) -> ReceiptLine:
    """Return the receipt line for missing images; a provider's code is untrusted text."""
    return ReceiptLine("failed", "images", str(missing), sanitize(error.code or error.status))


def too_few_images(missing: int) -> ProviderError:
    """Return the error for a provider that generated fewer images than requested."""
    return ProviderError(
        f"The provider returned {missing} fewer images than requested.", code="incomplete"
    )
