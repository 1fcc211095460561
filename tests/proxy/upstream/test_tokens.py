"""Access tokens: fetched once, separate by credential, renewed early; and signed assertions."""

from __future__ import annotations

import asyncio
import sys
import threading
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web
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
from msgspec.structs import replace

from adapters.contract import AccessToken, Adapter, Credentials, Option, TokenFlow
from adapters.errors import ProviderError, error_from_reply
from adapters.http import Assertion, ProviderRequest
from adapters.tools.json_access import dig_str
from proxy.errors import BadRequest, GatewayError, UpstreamFailed
from proxy.routing.plan import Target
from proxy.settings.schema import Timeouts
from proxy.upstream import tokens
from proxy.upstream.connector import Connectors
from proxy.upstream.tokens import Tokens, sign_jwt, with_assertion
from tests.support.gateway import Provider, json_reply, provider
from tests.support.rsa_key import rsa_key, rsa_pem

HOUR = 3600.0


class Granting(Adapter):
    """A provider whose token endpoint is on its own host."""

    id = "granting"
    options = (Option("client", "who"), Option("secret", "what", secret=True), Option("host", "it"))

    def token_flow(self, credentials: Credentials, time: float) -> TokenFlow | None:
        """Buy a token with the client's secret."""
        del time
        return _bought(credentials)


class Asserting(Granting):
    """A provider whose token is bought with a key's signature."""

    def token_flow(self, credentials: Credentials, time: float) -> TokenFlow | None:
        """Assert who it is."""
        return _asserted(credentials, time)


def _asserted(credentials: Credentials, time: float) -> TokenFlow:
    yield ProviderRequest(
        url=f"{credentials['host']}/token",
        content=b"assertion=",
        assertion=Assertion({"iat": int(time)}, rsa_pem()),
    )
    return AccessToken({"token": "t"}, HOUR)


class Plain(Adapter):
    """A provider that takes the key itself."""

    id = "plain"


def _bought(credentials: Credentials) -> TokenFlow:
    asked = {"client": credentials["client"], "secret": credentials["secret"]}
    reply = yield ProviderRequest(url=f"{credentials['host']}/token", json=asked)
    if not reply.ok:
        raise error_from_reply(reply)
    return AccessToken({"token": dig_str(reply.json(), "token")}, float(reply.json()["seconds"]))


@dataclass
class Shop:
    """Tokens, the provider that issues them, and a clock that is set by hand."""

    fake: Provider
    tokens: Tokens
    time: list[float]
    seconds: float = HOUR
    broken: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def sell(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        await self.gate.wait()
        if self.broken:
            return json_reply({"error": {"message": f"no {asked['secret']}"}}, 401)
        token = f"{asked['client']}-{len(self.fake.requests)}"
        return json_reply({"token": token, "seconds": self.seconds})

    def target(self, client: str = "a", forwarded: Mapping[str, str] | None = None) -> Target:
        options = {"client": client, "secret": "a-long-secret", "host": self.fake.url}
        credentials = Credentials("key-0123456789", options)
        return Target(
            Granting(),
            credentials,
            self.fake.url,
            allow_private_network=True,
            forwarded_headers=forwarded or {},
        )

    async def token(self, target: Target | None = None) -> str:
        return (await self.tokens.with_token(target or self.target())).credentials["token"]

    @property
    def sold(self) -> int:
        return len(self.fake.requests)


@asynccontextmanager
async def shop() -> AsyncIterator[Shop]:
    time = [1000.0]
    async with provider() as fake, Connectors(Timeouts(idle=5)) as connectors:
        made = Shop(fake, Tokens(connectors, clock=lambda: time[0]), time)
        made.gate.set()
        fake.reply = made.sell
        yield made


def refused(tokens: Tokens, target: Target, status: int) -> None:
    """Report an error of the provider."""
    tokens.on_error(target, ProviderError("no", provider_status=status))


async def test_concurrent_requests_fetch_one_token() -> None:
    async with shop() as it:
        tokens = await asyncio.gather(*(it.token() for _ in range(10)))
        assert (set(tokens), it.sold) == ({"a-1"}, 1)


async def test_the_other_options_of_the_credential_stay() -> None:
    async with shop() as it:
        granted = await it.tokens.with_token(it.target())
        assert granted.credentials.api_key == "key-0123456789"
        assert (granted.credentials["client"], granted.credentials["token"]) == ("a", "a-1")


@pytest.mark.parametrize(("seconds", "good"), [(HOUR, HOUR - 300), (400.0, 200.0), (10.0, 5.0)])
async def test_a_token_is_renewed_before_it_expires(seconds: float, good: float) -> None:
    async with shop() as it:
        it.seconds = seconds
        await it.token()
        it.time[0] += good - 1
        assert (await it.token(), it.sold) == ("a-1", 1)
        it.time[0] += 1
        assert (await it.token(), it.sold) == ("a-2", 2)


async def test_credentials_do_not_share_tokens() -> None:
    async with shop() as it:
        assert await it.token(it.target("a")) == "a-1"
        assert await it.token(it.target("b")) == "b-2"


async def test_forwarded_headers_do_not_separate_tokens() -> None:
    async with shop() as it:
        for trace in ("1", "2", "3"):
            await it.token(it.target(forwarded={"traceparent": trace}))
        assert it.sold == 1


async def test_neither_the_credential_nor_forwarded_headers_go_to_the_token_endpoint() -> None:
    async with shop() as it:
        await it.token(it.target(forwarded={"x-tenant": "t"}))
        sent = it.fake.requests[0].headers
        assert not {"authorization", "x-tenant"} & {name.lower() for name in sent}


async def test_concurrent_requests_sign_one_assertion() -> None:
    async with shop() as it:
        it.fake.reply = None
        target = replace(it.target(), adapter=Asserting())
        tokens = await asyncio.gather(*(it.token(target) for _ in range(10)))
        assert (set(tokens), it.sold) == ({"t"}, 1)
        start, _, token = it.fake.bodies[0].partition(b"=")
        assert (start, token.count(b".")) == (b"assertion", 2)


async def test_a_failed_fetch_is_not_cached() -> None:
    async with shop() as it:
        it.broken = True
        for _ in range(2):
            with pytest.raises(ProviderError) as caught:
                await it.token()
            assert "a-long-secret" not in caught.value.message
        it.broken = False
        assert (await it.token(), it.sold) == ("a-3", 3)


@pytest.mark.parametrize(("status", "token"), [(401, "a-2"), (403, "a-1"), (429, "a-1")])
async def test_a_rejected_token_is_not_used_again(status: int, token: str) -> None:
    async with shop() as it:
        assert await it.token() == "a-1"
        refused(it.tokens, it.target(), status)
        assert await it.token() == token


async def test_a_rejected_credential_without_token_is_no_problem() -> None:
    async with shop() as it:
        plain = Target(
            Plain(), Credentials("key-0123456789"), it.fake.url, allow_private_network=True
        )
        refused(it.tokens, plain, 401)
        assert it.sold == 0


async def test_a_cancelled_fetch_does_not_block_others() -> None:
    async with shop() as it:
        it.gate.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(it.token(), 0.1)
        it.gate.set()
        assert await asyncio.wait_for(it.token(), 5) == "a-2"


async def test_a_token_endpoint_is_a_public_host_unless_the_target_is_on_it() -> None:
    async with shop() as it:
        elsewhere = replace(it.target(), base_url="http://127.0.0.1:1")
        with pytest.raises(UpstreamFailed) as caught:
            await it.token(elsewhere)
        assert (caught.value.code, it.sold) == ("foreign_url", 0)


async def test_a_credential_without_token_flow_stays_as_it_is() -> None:
    async with shop() as it:
        plain = Target(
            Adapter(), Credentials("key-0123456789"), it.fake.url, allow_private_network=True
        )
        assert await it.tokens.with_token(plain) is plain


CLAIMS = {"iss": "a@b.test", "aud": "https://a.test/token", "iat": 4_000_000_000}
ASSERTION_REQUEST = ProviderRequest(
    url="https://a.test/token",
    content=b"grant_type=x&assertion=",
    assertion=Assertion(CLAIMS, rsa_pem()),
)


def decoded(segment: bytes) -> bytes:
    return urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))


def checked(token: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a token after verifying its signature with the tests' key."""
    head, claims, signature = token.split(b".")
    public = rsa_key().public_key()
    public.verify(decoded(signature), head + b"." + claims, PKCS1v15(), SHA256())
    return orjson.loads(decoded(head)), orjson.loads(decoded(claims))


def pem(key: Any, sealed: KeySerializationEncryption | None = None) -> str:
    written: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed or NoEncryption())
    return written.decode()


def test_the_signature_verifies_with_the_public_key() -> None:
    token = sign_jwt(Assertion(CLAIMS, rsa_pem()))
    assert checked(token) == ({"alg": "RS256", "typ": "JWT"}, CLAIMS)
    head, claims, signature = token.split(b".")
    with pytest.raises(InvalidSignature):
        checked(b".".join((head, claims[:-1] + b"A", signature)))


def test_the_key_id_is_in_the_header() -> None:
    head, _ = checked(sign_jwt(Assertion(CLAIMS, rsa_pem(), "key-1")))
    assert head["kid"] == "key-1"


async def test_the_assertion_is_appended_to_the_content() -> None:
    made = await with_assertion(ASSERTION_REQUEST)
    start, _, token = (made.content or b"").rpartition(b"=")
    assert (start, made.url, made.assertion) == (
        b"grant_type=x&assertion",
        ASSERTION_REQUEST.url,
        None,
    )
    assert checked(token)[1] == CLAIMS


async def test_a_request_without_an_assertion_stays_as_it_is() -> None:
    plain = ProviderRequest("/token", content=b"a=b")
    assert await with_assertion(plain) is plain


async def test_signing_runs_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def noting(assertion: Assertion) -> bytes:
        threads.append(threading.get_ident())
        return sign_jwt(assertion)

    monkeypatch.setattr(tokens, "sign_jwt", noting)
    await with_assertion(ASSERTION_REQUEST)
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
def test_an_invalid_key_is_a_400_that_does_not_quote_it(key: str) -> None:
    with pytest.raises(BadRequest, match="RSA key in PEM") as caught:
        sign_jwt(Assertion(CLAIMS, key))
    assert caught.value.code == "invalid_credential"
    assert caught.value.__cause__ is None


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(GatewayError, match=r"easel-gateway\[gcp\]") as caught:
        sign_jwt(Assertion(CLAIMS, rsa_pem()))
    assert (caught.value.status, caught.value.code) == (500, "not_installed")
