"""OAuth 2.0 token endpoints.

Source: https://www.rfc-editor.org/rfc/rfc6749#section-5
"""

from __future__ import annotations

from adapters.contract import AccessToken, TokenFlow
from adapters.errors import ProviderError, error_from_reply
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import dig_str, dig_typed

FORM = {"content-type": "application/x-www-form-urlencoded"}

# Most tokens last an hour; one without `expires_in` is requested again soon.
_DEFAULT_SECONDS = 300


def request_token(request: ProviderRequest, option: str, issuer: str) -> TokenFlow:
    """Request a token, which becomes the option `option`. `issuer` is for error messages."""
    reply = yield request
    token = dig_str(reply.json(), "access_token")
    if not (reply.ok and token):
        raise _token_error(reply, issuer)
    seconds = dig_typed(reply.json(), "expires_in", kind=int) or _DEFAULT_SECONDS
    return AccessToken({option: token}, seconds)


def _token_error(reply: ProviderReply, issuer: str) -> ProviderError:
    """Return the error; 400 and 401 both mean that the credentials are wrong."""
    if reply.ok:
        return ProviderError(f"{issuer} answered without a token.")
    message = dig_str(reply.json(), "error_description")
    error = error_from_reply(reply, message=message and f"no token from {issuer}: {message}")
    if reply.status in (400, 401):
        error.status, error.type, error.code = 401, "authentication_error", "invalid_api_key"
    return error
