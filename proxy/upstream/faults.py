"""Foreign exceptions of the client library, translated once where they cross in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from proxy.errors import BadRequest, UpstreamFailed
from proxy.upstream.dialer import ForbiddenAddressError


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the client library raises into what a client of ours can be told.

    No sentence holds an address, a URL or what the library said: they may hold a secret.
    """
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        if _forbidden(error.os_error):
            raise BadRequest(
                "The host leads to an address that may not be reached; the operator can add it "
                "to trusted_custom_hosts.",
                code="invalid_custom_host",
                param="x-portkey-custom-host",
                legacy="Invalid custom host",
            ) from None
        raise UpstreamFailed("The provider could not be connected to.") from error
    except aiohttp.ConnectionTimeoutError as error:
        raise UpstreamFailed("Connecting to the provider took too long.", status=504) from error
    except aiohttp.ServerTimeoutError as error:
        raise UpstreamFailed(
            "The provider fell silent in the middle of its answer.", status=504, code="timeout"
        ) from error
    except (aiohttp.InvalidURL, ValueError) as error:
        raise UpstreamFailed("The provider's URL cannot be used.", code="invalid_url") from error
    except aiohttp.ClientError as error:
        raise UpstreamFailed(
            "The connection to the provider was lost before its answer was whole.",
            code="connection_lost",
        ) from error


def _forbidden(error: BaseException | None) -> bool:
    """Tell whether an address was refused, alone or as the first of several tried."""
    if isinstance(error, ForbiddenAddressError):
        return True
    # Where several addresses failed, their errors are joined into one sentence.
    return error is not None and str(ForbiddenAddressError()) in str(error)
