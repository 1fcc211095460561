"""AWS credentials: options, signing with an access key, and assuming a role."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from adapters.auth.signatures import sign_sigv4
from adapters.contract import AccessToken, Credentials, Option, SignableRequest, TokenFlow
from adapters.errors import ProviderError, error_from_reply
from adapters.http import ProviderReply, ProviderRequest

ACCESS_KEY = ("aws_access_key_id", "aws_secret_access_key")
OPTIONS = (
    Option(
        "aws_region",
        "the region, us-east-1 by default",
        pattern=r"[a-z]{2}(?:-[a-z]{2,12}){1,3}-\d{1,2}",
    ),
    Option("aws_access_key_id", "the id of an access key", pattern=r"[A-Za-z0-9_]{1,128}"),
    Option(
        "aws_secret_access_key",
        "the secret of an access key",
        pattern=r"[A-Za-z0-9+/=]{1,128}",
        secret=True,
    ),
    Option(
        "aws_session_token",
        "the session token of a temporary access key",
        pattern=r"[A-Za-z0-9+/=]{1,4096}",
        secret=True,
    ),
    Option(
        "aws_role_arn",
        "the role to assume, for assumedRole",
        pattern=r"arn:[A-Za-z0-9:/_+=,.@-]{1,250}",
    ),
    Option(
        "aws_external_id",
        "the external id that the role's trust policy requires, for assumedRole",
        pattern=r"[A-Za-z0-9+=,.@:/_-]{2,1224}",
    ),
)

_FORM = {"content-type": "application/x-www-form-urlencoded"}
_SESSION_SECONDS = 3600


def get_region(credentials: Credentials) -> str:
    """Return the region to call and to sign for."""
    return credentials["aws_region"] or "us-east-1"


def sign(request: SignableRequest, credentials: Credentials, service: str) -> Mapping[str, str]:
    """Sign a request with the access key and return the headers to add."""
    return sign_sigv4(
        request,
        service=service,
        region=get_region(credentials),
        access_key_id=credentials["aws_access_key_id"],
        secret_access_key=credentials["aws_secret_access_key"],
        session_token=credentials["aws_session_token"],
    )


def assume_role(credentials: Credentials, time: float) -> TokenFlow:
    """Request temporary credentials of the role from STS; `time` is that of the signature.

    Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
    """
    url = f"https://sts.{get_region(credentials)}.amazonaws.com/"
    query = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": credentials["aws_role_arn"],
        "RoleSessionName": "easel",
        "DurationSeconds": str(_SESSION_SECONDS),
    }
    if external_id := credentials["aws_external_id"]:
        query["ExternalId"] = external_id
    content = urlencode(query).encode()
    signature = sign(SignableRequest("POST", url, _FORM, content, time), credentials, "sts")
    reply = yield ProviderRequest(
        url=url, headers={**_FORM, **signature}, content=content, authenticated=False
    )
    return AccessToken(_access_key(reply), _SESSION_SECONDS)


def _access_key(reply: ProviderReply) -> dict[str, str]:
    """Parse the role's credentials. Raises `ProviderError` if the reply has none."""
    found = {
        "aws_access_key_id": _element(reply, "AccessKeyId"),
        "aws_secret_access_key": _element(reply, "SecretAccessKey"),
        "aws_session_token": _element(reply, "SessionToken"),
    }
    if reply.ok and all(found.values()):
        return found
    if reply.ok:
        raise ProviderError("AWS STS answered without credentials for the role.")
    message = _element(reply, "Message")
    raise error_from_reply(reply, message=message and f"the role could not be assumed: {message}")


def _element(reply: ProviderReply, name: str) -> str:
    """Return the text of an XML element, "" if missing; these flat replies need no XML parser."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", reply.body.decode(errors="replace"))
    return found[1].strip() if found else ""
