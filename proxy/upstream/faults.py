"""Foreign exceptions of the client library, translated once where they cross in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp

from proxy.errors import BadRequest, GatewayError, TimedOut, UpstreamFailed
from proxy.upstream.dialer import ForbiddenAddressError


@contextmanager
def translated(*, by_provider: bool = False) -> Iterator[None]:
    """Turn what the client library raises into what a client of ours can be told.

    No sentence holds an address, a URL or what the library said, and no traceback shows it: they
    may hold a secret. `by_provider`: it was a provider's reply that named the address.
    """
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        if _forbidden(error.os_error):
            raise _refused(by_provider=by_provider) from None
        raise UpstreamFailed("The provider could not be connected to.") from None
    except aiohttp.ConnectionTimeoutError:
        raise UpstreamFailed("Connecting to the provider took too long.", status=504) from None
    except aiohttp.ServerTimeoutError:
        raise UpstreamFailed(
            "The provider fell silent before its answer was whole.", status=504, code="timeout"
        ) from None
    except (aiohttp.InvalidURL, ValueError):
        raise UpstreamFailed("The provider's URL cannot be used.", code="invalid_url") from None
    except aiohttp.ClientError:
        raise UpstreamFailed(
            "The connection to the provider was lost before its answer was whole.",
            code="connection_lost",
        ) from None


@asynccontextmanager
async def in_time(seconds: float | None, late: GatewayError) -> AsyncIterator[asyncio.Timeout]:
    """End the block after `seconds` by raising `late`; None: when the alarm will be set to."""
    alarm = asyncio.timeout(seconds)
    try:
        async with alarm:
            yield alarm
    except TimeoutError:
        if not alarm.expired():
            raise
        raise late from None


def asked_too_long(seconds: float | None) -> TimedOut:
    """Say, in Portkey's words, that the request's own timeout ran out."""
    milliseconds = round((seconds or 0) * 1000)
    return TimedOut(f"Request exceeded the timeout sent in the request: {milliseconds}ms")


def worked_too_long(seconds: float) -> UpstreamFailed:
    """Say that the operator's deadline ran out."""
    return UpstreamFailed(
        f"The provider was still working after {seconds:g} seconds.", status=504, code="timeout"
    )


def _refused(*, by_provider: bool) -> GatewayError:
    if by_provider:
        return UpstreamFailed(
            "The provider named an address that may not be reached; it was not followed.",
            code="foreign_url",
        )
    return BadRequest(
        "The host leads to an address that may not be reached; the operator can add it to "
        "trusted_custom_hosts.",
        code="invalid_custom_host",
        param="x-portkey-custom-host",
        legacy="Invalid custom host",
    )


def _forbidden(error: BaseException | None) -> bool:
    """Tell whether an address was refused, alone or as the first of several tried."""
    if isinstance(error, ForbiddenAddressError):
        return True
    # Where several addresses failed, their errors are joined into one sentence.
    return error is not None and str(ForbiddenAddressError()) in str(error)
