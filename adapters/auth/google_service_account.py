"""Google service accounts: the key file, and the access token requested with it.

Source: https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from adapters.auth import oauth2
from adapters.contract import Credentials, Option, TokenFlow
from adapters.errors import BadParam
from adapters.http import Assertion, ProviderRequest
from adapters.tools.json_access import dig_str

KEY, TOKEN = "vertex_service_account_json", "vertex_access_token"
OPTIONS = (
    Option(
        KEY,
        "a service account's key: the JSON content of its file",
        pattern=r"\s*\{[\s\S]{2,16384}\}\s*",
        secret=True,
    ),
    Option(
        TOKEN,
        "an OAuth access token; the API key can be one too",
        pattern=r"[A-Za-z0-9._~+/=-]{1,8192}",
        secret=True,
    ),
)

PROJECT = r"(?:[a-z0-9][a-z0-9.-]{0,62}:)?[a-z0-9][a-z0-9-]{0,62}"
"""A project's id or number; an old id begins with a domain."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_ENDPOINT = "https://oauth2.googleapis.com/token"
# The signed assertion is sent only to Google, whatever `token_uri` the file names.
_GOOGLE_URL = r"https://(?:[a-z0-9-]+\.)*google(?:apis)?\.com(?:/[A-Za-z0-9._~-]+)*"
_HOUR = 3600


def get_project(credentials: Credentials) -> str:
    """Return the project id in the key file. Raises `BadParam` if there is none."""
    found = dig_str(_parse_key_file(credentials), "project_id")
    if not re.fullmatch(PROJECT, found):
        raise _invalid_key("has no project_id: set vertex_project_id")
    return found


def request_token(credentials: Credentials, time: float) -> TokenFlow:
    """Request a token with an assertion issued at `time`; it becomes the option `TOKEN`."""
    key = _parse_key_file(credentials)
    # In environment variables, line breaks are often written as a backslash and an n.
    private_key = dig_str(key, "private_key").replace("\\n", "\n")
    issuer, endpoint = dig_str(key, "client_email"), dig_str(key, "token_uri") or _ENDPOINT
    if not (private_key and issuer):
        raise _invalid_key("lacks client_email or private_key: set it to the whole file")
    if not re.fullmatch(_GOOGLE_URL, endpoint):
        raise _invalid_key("has a token_uri that is not an https URL of Google")
    now = int(time)
    claims = {
        "iss": issuer,
        "scope": _SCOPE,
        "aud": endpoint,
        "iat": now,
        "exp": now + _HOUR,
    }
    request = ProviderRequest(
        url=endpoint,
        headers=oauth2.FORM,
        content=b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=",
        authenticated=False,
        assertion=Assertion(claims, private_key, dig_str(key, "private_key_id")),
    )
    return (yield from oauth2.request_token(request, TOKEN, "Google"))


def _parse_key_file(credentials: Credentials) -> Any:
    try:
        return orjson.loads(credentials[KEY])
    except orjson.JSONDecodeError:
        raise _invalid_key("is not JSON") from None


def _invalid_key(why: str) -> BadParam:
    return BadParam(KEY, f"'{KEY}' {why}.", code="invalid_credential")
