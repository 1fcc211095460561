"""Token endpoints of OAuth 2.0: what they grant, and what it means when they do not.

Source: https://www.rfc-editor.org/rfc/rfc6749#section-5
"""

from __future__ import annotations

from adapters.contract import AccessToken, TokenFlow
from adapters.errors import ProviderError, error_from_reply
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import dig_str, dig_typed

FORM = {"content-type": "application/x-www-form-urlencoded"}

# A token lives about an hour; one that does not say so is asked for again soon.
_SHORT_LIFE = 300


def request_token(request: ProviderRequest, option: str, issuer: str) -> TokenFlow:
    """Ask a token endpoint; the token is granted as `option`. `seller` is its name for people."""
    reply = yield request
    given = dig_str(reply.json(), "access_token")
    if not (reply.ok and given):
        raise _token_error(reply, issuer)
    seconds = dig_typed(reply.json(), "expires_in", kind=int) or _SHORT_LIFE
    return AccessToken({option: given}, seconds)


def _token_error(reply: ProviderReply, seller: str) -> ProviderError:
    """Say why there is no token: 400 and 401 both mean that the credentials are wrong."""
    if reply.ok:
        return ProviderError(f"{seller} answered without a token.")
    said = dig_str(reply.json(), "error_description")
    error = error_from_reply(reply, message=said and f"no token from {seller}: {said}")
    if reply.status in (400, 401):
        error.status, error.type, error.code = 401, "authentication_error", "invalid_api_key"
    return error
