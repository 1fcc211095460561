"""Assertions: signed so that anybody can check it, off the loop, and clear where that fails."""

from __future__ import annotations

import sys
import threading
from base64 import urlsafe_b64decode
from typing import Any

import orjson
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from adapters.http import Assertion, ProviderRequest
from proxy.errors import BadRequest, GatewayError
from proxy.upstream import jwt
from proxy.upstream.jwt import asserted, signed
from tests.support.rsa_key import rsa_key, rsa_pem

CLAIMS = {"iss": "a@b.test", "aud": "https://a.test/token", "iat": 4_000_000_000}
REQUEST = ProviderRequest(
    url="https://a.test/token",
    content=b"grant_type=x&assertion=",
    assertion=Assertion(CLAIMS, rsa_pem()),
)


def decoded(segment: bytes) -> bytes:
    return urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))


def checked(token: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give header and claims of a token, if the signature under them is that of the tests' key."""
    head, claims, signature = token.split(b".")
    public = rsa_key().public_key()
    public.verify(decoded(signature), head + b"." + claims, PKCS1v15(), SHA256())
    return orjson.loads(decoded(head)), orjson.loads(decoded(claims))


def pem(key: Any, sealed: KeySerializationEncryption | None = None) -> str:
    written: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed or NoEncryption())
    return written.decode()


def test_what_is_signed_can_be_checked_with_the_public_key() -> None:
    token = signed(Assertion(CLAIMS, rsa_pem()))
    assert checked(token) == ({"alg": "RS256", "typ": "JWT"}, CLAIMS)
    head, claims, signature = token.split(b".")
    with pytest.raises(InvalidSignature):
        checked(b".".join((head, claims[:-1] + b"A", signature)))


def test_the_key_is_named_where_it_has_a_name() -> None:
    head, _ = checked(signed(Assertion(CLAIMS, rsa_pem(), "key-1")))
    assert head["kid"] == "key-1"


async def test_the_token_ends_the_content_and_nothing_else_changes() -> None:
    made = await asserted(REQUEST)
    start, _, token = (made.content or b"").rpartition(b"=")
    assert (start, made.url, made.assertion) == (b"grant_type=x&assertion", REQUEST.url, None)
    assert checked(token)[1] == CLAIMS


async def test_a_request_without_an_assertion_stays_as_it_is() -> None:
    plain = ProviderRequest("/token", content=b"a=b")
    assert await asserted(plain) is plain


async def test_the_loop_does_not_do_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def noting(assertion: Assertion) -> bytes:
        threads.append(threading.get_ident())
        return signed(assertion)

    monkeypatch.setattr(jwt, "signed", noting)
    await asserted(REQUEST)
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "no key at all",
        rsa_pem().replace("\n", "\\n"),
        rsa_pem()[:600] + "\n-----END PRIVATE KEY-----\n",
        pem(rsa_key(), BestAvailableEncryption(b"secret")),
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(ed25519.Ed25519PrivateKey.generate()),
    ],
    ids=["empty", "words", "escaped", "cut", "encrypted", "elliptic", "edwards"],
)
def test_a_key_that_cannot_sign_is_the_requests_fault_and_is_not_quoted(key: str) -> None:
    with pytest.raises(BadRequest, match="RSA key in PEM") as caught:
        signed(Assertion(CLAIMS, key))
    assert caught.value.code == "invalid_credential"
    assert caught.value.__cause__ is None


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(GatewayError, match=r"easel-gateway\[gcp\]") as caught:
        signed(Assertion(CLAIMS, rsa_pem()))
    assert (caught.value.status, caught.value.code) == (500, "not_installed")
