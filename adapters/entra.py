"""Microsoft Entra ID: a token for an application, by the client-credentials flow.

Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

from urllib.parse import urlencode

from adapters import oauth
from adapters.contract import Credentials, GrantFlow, Option, ProviderRequest

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_SCOPE = "https://cognitiveservices.azure.com/.default"

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
    request = ProviderRequest(
        url=f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
        headers=oauth.FORM,
        content=urlencode(wanted).encode(),
        signed=False,
    )
    return oauth.bought(request, "azure_ad_token", "Microsoft Entra")
