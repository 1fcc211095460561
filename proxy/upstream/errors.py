"""Maps the exceptions of the HTTP client library to the gateway's own errors."""

from __future__ import annotations

import aiohttp

from proxy.errors import BadRequest, GatewayError, UpstreamFailed
from proxy.upstream.connector import ForbiddenAddressError


class map_client_errors:  # noqa: N801 - used as a function: `with map_client_errors():`
    """Raise a `GatewayError` in place of each exception of the client library.

    The messages contain no address, URL or text of the library, and the traceback does not show the
    original exception: they may contain a secret. With `by_provider` the URL came from a provider's
    reply.
    """

    __slots__ = ("_by_provider",)

    def __init__(self, *, by_provider: bool = False) -> None:
        self._by_provider = by_provider

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and (ours := _to_gateway_error(error, by_provider=self._by_provider)):
            raise ours from None


def ended_early() -> UpstreamFailed:
    """Return the error for a response that ended before it was whole. It may have been charged."""
    return UpstreamFailed(
        "The provider's response ended before it was complete.", code="connection_lost"
    )


def _to_gateway_error(error: BaseException, *, by_provider: bool) -> GatewayError | None:
    match error:
        case aiohttp.ClientConnectorError() if _is_forbidden_address(error.os_error):
            ours: GatewayError = _forbidden_address_error(by_provider=by_provider)
        case aiohttp.ClientConnectorError():
            ours = UpstreamFailed("Could not connect to the provider.")
        case aiohttp.ConnectionTimeoutError():
            ours = UpstreamFailed("Connecting to the provider timed out.", status=504)
        case aiohttp.ServerTimeoutError():
            ours = UpstreamFailed(
                "The provider stopped sending before its response was complete.",
                status=504,
                code="timeout",
            )
        case aiohttp.InvalidURL() | ValueError():
            ours = UpstreamFailed("The provider's URL is not valid.", code="invalid_url")
        case aiohttp.ClientError():
            ours = UpstreamFailed(
                "The connection to the provider was lost before its response was complete.",
                code="connection_lost",
            )
        case _:
            return None
    return ours


def _forbidden_address_error(*, by_provider: bool) -> GatewayError:
    if by_provider:
        return UpstreamFailed(
            "The provider's reply has a URL at a forbidden address; it was not followed.",
            code="foreign_url",
        )
    return BadRequest(
        "The custom host resolves to a private or reserved address. The operator can add the host "
        "to `trusted_custom_hosts`.",
        code="invalid_custom_host",
        param="x-portkey-custom-host",
        legacy="Invalid custom host",
    )


def _is_forbidden_address(error: BaseException | None) -> bool:
    """Return whether an address was forbidden, alone or as one of several that were tried."""
    if isinstance(error, ForbiddenAddressError):
        return True
    # For several failed addresses the event loop joins their messages into one.
    return error is not None and str(ForbiddenAddressError()) in str(error)
