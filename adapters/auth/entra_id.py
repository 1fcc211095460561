"""Microsoft Entra ID: what services of Azure's take for a credential, and tokens to be bought.

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
        "the model behind the deployment, where its name does not say so",
        pattern=_NAME,
    ),
    Option(
        TOKEN,
        "an Entra ID token, instead of a key",
        pattern=r"[A-Za-z0-9._~+/=-]{1,8192}",
        secret=True,
    ),
    Option(
        _MODE,
        "entra, for a token that the gateway gets from Entra ID itself",
        pattern=r"[a-z]{1,16}",
    ),
    Option("azure_entra_tenant_id", "the tenant, for entra", pattern=_NAME),
    Option("azure_entra_client_id", "the application's id, for entra", pattern=_NAME),
    Option("azure_entra_client_secret", "the application's secret, for entra", secret=True),
    Option(
        "azure_entra_scope",
        f"the scope, for entra; {_SCOPE} by default",
        pattern=r"[a-z]{1,16}://[A-Za-z0-9._/-]{1,200}",
    ),
)


class AzureAdapter(Adapter):
    """A service that takes a key or a token of Entra's, and names deployments freely."""

    def effective_model(self, named: str, credentials: Credentials) -> str:
        """Let the operator say which model is behind the deployment's name."""
        return credentials["azure_model_name"] or named

    def missing_credentials(self, credentials: Credentials) -> str:
        """Name the credential that is missing; the address is `base`'s to ask for."""
        mode = credentials[_MODE]
        if credentials[TOKEN] or (not mode and credentials.api_key):
            return ""
        if not mode:
            return f"an API key or {TOKEN}"
        if mode != "entra":
            return f"another {_MODE} ({mode} is not supported, entra is)"
        return " and ".join(name for name in REQUIRED if not credentials[name])

    def sign(self, outgoing: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Add the token or the key, never both: Azure refuses a request with two credentials."""
        del outgoing
        if token := credentials[TOKEN]:
            return {"authorization": f"Bearer {token}"}
        return {"api-key": credentials.api_key} if credentials.api_key else {}

    def token_flow(self, credentials: Credentials, time: float) -> TokenFlow | None:
        """Buy a token for an application, if that is the way in."""
        del time
        if credentials[TOKEN] or credentials[_MODE] != "entra":
            return None
        return request_token(credentials)


def request_token(credentials: Credentials) -> TokenFlow:
    """Ask Entra for a token; it is granted as `TOKEN`."""
    tenant, client_id, client_secret = (credentials[name] for name in REQUIRED)
    wanted = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret,
        "scope": credentials["azure_entra_scope"] or _SCOPE,
    }
    request = ProviderRequest(
        url=f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
        headers=oauth2.FORM,
        content=urlencode(wanted).encode(),
        authenticated=False,
    )
    return oauth2.request_token(request, TOKEN, "Microsoft Entra")
