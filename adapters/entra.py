"""Microsoft Entra ID: a token for an application, by the client-credentials flow.

Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

from urllib.parse import urlencode

from adapters.contract import (
    Credentials,
    Grant,
    GrantFlow,
    Option,
    ProviderReply,
    ProviderRequest,
)
from adapters.errors import ProviderError, failure
from adapters.reading import pick, text_at

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_SCOPE = "https://cognitiveservices.azure.com/.default"
# A token lives about an hour; one that does not say so is asked for again soon.
_SHORT_LIFE = 300

NEEDED = ("azure_entra_tenant_id", "azure_entra_client_id", "azure_entra_client_secret")
OPTIONS = (
    Option("azure_entra_tenant_id", "the tenant, for entra", pattern=_NAME),
    Option("azure_entra_client_id", "the application's id, for entra", pattern=_NAME),
    Option("azure_entra_client_secret", "the application's secret, for entra", secret=True),
    Option(
        "azure_entra_scope",
        f"the scope, for entra; {_SCOPE} by default",
        pattern=r"[a-z]{1,16}://[A-Za-z0-9._/-]{1,200}",
    ),
)


def token(credentials: Credentials) -> GrantFlow:
    """Ask Entra for a token; it is granted as `azure_ad_token`."""
    tenant, client_id, client_secret = (credentials[name] for name in NEEDED)
    wanted = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret,
        "scope": credentials["azure_entra_scope"] or _SCOPE,
    }
    reply = yield ProviderRequest(
        url=f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
        headers={"content-type": "application/x-www-form-urlencoded"},
        content=urlencode(wanted).encode(),
        signed=False,
    )
    given = text_at(reply.json(), "access_token")
    if not (reply.ok and given):
        raise _denied(reply)
    seconds = pick(reply.json(), "expires_in", kind=int) or _SHORT_LIFE
    return Grant({"azure_ad_token": given}, seconds)


def _denied(reply: ProviderReply) -> ProviderError:
    """Say why there is no token: Entra's 400 and 401 both mean that the credentials are wrong."""
    if reply.ok:
        return ProviderError("Microsoft Entra answered without a token.")
    said = text_at(reply.json(), "error_description")
    error = failure(reply, message=said and f"no token from Microsoft Entra: {said}")
    if reply.status in (400, 401):
        error.status, error.type, error.code = 401, "authentication_error", "invalid_api_key"
    return error
