"""Signs the assertions by which a key buys a token: JSON Web Tokens, with RS256 (RFC 7523).

The library that signs is an extra, and slow to import: it is imported when it is first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from adapters.http import Assertion, ProviderRequest
from proxy.errors import BadRequest, GatewayError


async def asserted(request: ProviderRequest) -> ProviderRequest:
    """Give a request with its assertion, signed, at the end of its content."""
    if request.assertion is None:
        return request
    # Some milliseconds of arithmetic, and at first an import.
    token = await asyncio.to_thread(signed, request.assertion)
    return replace(request, content=(request.content or b"") + token, assertion=None)


def signed(assertion: Assertion) -> bytes:
    """Write the token of an assertion; raises `GatewayError`."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see the module
        from google.auth import crypt, jwt  # noqa: PLC0415 - see the module
    except ImportError:
        raise GatewayError(
            "A service account's key cannot be used here, for want of a package to sign with: "
            "the operator has to install easel-gateway[gcp].",
            code="not_installed",
        ) from None
    # The library declares no types here.
    read: Callable[[str, str | None], Any] = crypt.RSASigner.from_string
    write: Callable[[Any, Mapping[str, Any]], bytes] = jwt.encode
    try:
        return write(read(assertion.private_key, assertion.key_id or None), assertion.claims)
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        # What went wrong is not passed on: it could quote the key.
        raise BadRequest(
            "The private key of the service account is not an RSA key in PEM, or is damaged.",
            code="invalid_credential",
        ) from None
