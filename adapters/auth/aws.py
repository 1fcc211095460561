"""AWS credentials: an access key that signs, or the role that it may assume."""

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
        "what the role's owner asks for beside it, for assumedRole",
        pattern=r"[A-Za-z0-9+=,.@:/_-]{2,1224}",
    ),
)

_FORM = {"content-type": "application/x-www-form-urlencoded"}
_SESSION_SECONDS = 3600


def get_region(credentials: Credentials) -> str:
    """Give the region to call and to sign for."""
    return credentials["aws_region"] or "us-east-1"


def sign(outgoing: SignableRequest, credentials: Credentials, service: str) -> Mapping[str, str]:
    """Sign a request with the access key and give the headers to add."""
    return sign_sigv4(
        outgoing,
        service=service,
        region=get_region(credentials),
        access_key_id=credentials["aws_access_key_id"],
        secret_access_key=credentials["aws_secret_access_key"],
        session_token=credentials["aws_session_token"],
    )


def assume_role(credentials: Credentials, time: float) -> TokenFlow:
    """Ask STS for the role's own access key, with a signature made at `time`.

    Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
    """
    url = f"https://sts.{get_region(credentials)}.amazonaws.com/"
    wanted = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": credentials["aws_role_arn"],
        "RoleSessionName": "easel",
        "DurationSeconds": str(_SESSION_SECONDS),
    }
    if external_id := credentials["aws_external_id"]:
        wanted["ExternalId"] = external_id
    content = urlencode(wanted).encode()
    signature = sign(SignableRequest("POST", url, _FORM, content, time), credentials, "sts")
    reply = yield ProviderRequest(
        url=url, headers={**_FORM, **signature}, content=content, authenticated=False
    )
    return AccessToken(_access_key(reply), _SESSION_SECONDS)


def _access_key(reply: ProviderReply) -> dict[str, str]:
    """Read the role's access key, or say why there is none."""
    found = {
        "aws_access_key_id": _element(reply, "AccessKeyId"),
        "aws_secret_access_key": _element(reply, "SecretAccessKey"),
        "aws_session_token": _element(reply, "SessionToken"),
    }
    if reply.ok and all(found.values()):
        return found
    if reply.ok:
        raise ProviderError("AWS STS answered without the role's keys.")
    said = _element(reply, "Message")
    raise error_from_reply(reply, message=said and f"the role could not be assumed: {said}")


def _element(reply: ProviderReply, name: str) -> str:
    """Read the text of an element; a parser for all of XML would be more than these few need."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", reply.body.decode(errors="replace"))
    return found[1].strip() if found else ""
