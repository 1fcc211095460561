"""Foreign exceptions of the client library, translated once where they cross in."""

from __future__ import annotations

import aiohttp

from proxy.errors import BadRequest, GatewayError, UpstreamFailed
from proxy.upstream.connector import ForbiddenAddressError


class translated:  # noqa: N801 - reads as what it does: `with translated():`
    """Turn what the client library raises into what a client of ours can be told.

    No sentence holds an address, a URL or what the library said, and no traceback shows it: they
    may hold a secret. `by_provider`: it was a provider's reply that named the address.
    """

    __slots__ = ("_by_provider",)

    def __init__(self, *, by_provider: bool = False) -> None:
        self._by_provider = by_provider

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and (told := _told(error, by_provider=self._by_provider)):
            raise told from None


def _told(error: BaseException, *, by_provider: bool) -> GatewayError | None:
    match error:
        case aiohttp.ClientConnectorError() if _forbidden(error.os_error):
            told: GatewayError = _refused(by_provider=by_provider)
        case aiohttp.ClientConnectorError():
            told = UpstreamFailed("The provider could not be connected to.")
        case aiohttp.ConnectionTimeoutError():
            told = UpstreamFailed("Connecting to the provider took too long.", status=504)
        case aiohttp.ServerTimeoutError():
            told = UpstreamFailed(
                "The provider fell silent before its answer was whole.", status=504, code="timeout"
            )
        case aiohttp.InvalidURL() | ValueError():
            told = UpstreamFailed("The provider's URL cannot be used.", code="invalid_url")
        case aiohttp.ClientError():
            told = UpstreamFailed(
                "The connection to the provider was lost before its answer was whole.",
                code="connection_lost",
            )
        case _:
            return None
    return told


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
