"""Azure credentials: an API key, a Microsoft Entra ID token, or an application that requests one.

Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from adapters.auth import oauth2
from adapters.contract import Adapter, Credentials, Option, SignableRequest, TokenFlow
from adapters.http import ProviderRequest

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_SCOPE = "https://cognitiveservices.azure.com/.default"

REQUIRED = ("azure_entra_tenant_id", "azure_entra_client_id", "azure_entra_client_secret")
TOKEN, _MODE = "azure_ad_token", "azure_auth_mode"
OPTIONS = (
    Option(
        "azure_model_name",
        "the model of the deployment, if the deployment's name does not show it",
        pattern=_NAME,
    ),
    Option(
        TOKEN,
        "an Entra ID token, instead of an API key",
        pattern=r"[A-Za-z0-9._~+/=-]{1,8192}",
        secret=True,
    ),
    Option(
        _MODE,
        "entra: the gateway requests a token from Entra ID",
        pattern=r"[a-z]{1,16}",
    ),
    Option("azure_entra_tenant_id", "the tenant, for azure_auth_mode entra", pattern=_NAME),
    Option(
        "azure_entra_client_id",
        "the application (client) id, for azure_auth_mode entra",
        pattern=_NAME,
    ),
    Option(
        "azure_entra_client_secret",
        "the application's client secret, for azure_auth_mode entra",
        secret=True,
    ),
    Option(
        "azure_entra_scope",
        f"the scope, for azure_auth_mode entra; {_SCOPE} by default",
        pattern=r"[a-z]{1,16}://[A-Za-z0-9._/-]{1,200}",
    ),
)


class AzureAdapter(Adapter):
    """An Azure service: it takes a key or an Entra ID token and has named deployments."""

    def effective_model(self, model: str, credentials: Credentials) -> str:
        """Return the model that the operator set for the deployment, else the client's."""
        return credentials["azure_model_name"] or model

    def missing_credentials(self, credentials: Credentials) -> str:
        """Return the missing credential. `resolve_base_url` checks the address."""
        mode = credentials[_MODE]
        if credentials[TOKEN] or (not mode and credentials.api_key):
            return ""
        if not mode:
            return f"an API key or {TOKEN}"
        if mode != "entra":
            return f"another {_MODE} ({mode} is not supported, entra is)"
        return " and ".join(name for name in REQUIRED if not credentials[name])

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the header of the token or the key; Azure refuses a request with both."""
        del request
        if token := credentials[TOKEN]:
            return {"authorization": f"Bearer {token}"}
        return {"api-key": credentials.api_key} if credentials.api_key else {}

    def token_flow(self, credentials: Credentials, time: float) -> TokenFlow | None:
        """Return the flow for an application's token, if `azure_auth_mode` is entra."""
        del time
        if credentials[TOKEN] or credentials[_MODE] != "entra":
            return None
        return request_token(credentials)


def request_token(credentials: Credentials) -> TokenFlow:
    """Return the flow that requests a token from Entra ID, as option `TOKEN`."""
    tenant, client_id, client_secret = (credentials[name] for name in REQUIRED)
    query = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret,
        "scope": credentials["azure_entra_scope"] or _SCOPE,
    }
    request = ProviderRequest(
        url=f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
        headers=oauth2.FORM,
        content=urlencode(query).encode(),
        authenticated=False,
    )
    return oauth2.request_token(request, TOKEN, "Microsoft Entra")
