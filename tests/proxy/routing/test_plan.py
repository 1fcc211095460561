"""Targets: fingerprints, secrets and digests."""

from __future__ import annotations

from base64 import b64encode

from msgspec.structs import replace

from adapters import get_adapter
from adapters.contract import Adapter, Credentials, Option
from proxy.routing.plan import Target
from proxy.settings.policies import CachePolicy

HOST = "https://api.openai.com/v1"


def test_a_fingerprint_distinguishes_credentials_without_revealing_them() -> None:
    keys = ("key-1", "key-2")
    prints = [Target(get_adapter("openai"), Credentials(key), HOST).fingerprint for key in keys]
    assert prints[0] != prints[1]
    assert not any(key in text for key in keys for text in prints)


class Acme(Adapter):
    """Has a secret option and a public one."""

    options = (Option("client", "who"), Option("secret", "its word", secret=True))


def test_secrets_are_the_key_and_the_secret_options() -> None:
    options = {"client": "a-public-name", "secret": "a/long/secret"}
    target = Target(Acme(), Credentials("key-0123456789", options), "")
    assert target.secrets == {"key-0123456789", "a/long/secret", "a\\/long\\/secret"}


def test_a_password_in_base64_is_as_secret_as_the_password() -> None:
    options = {"automatic1111_user": "me", "automatic1111_password": "a long password"}
    target = Target(get_adapter("automatic1111"), Credentials("", options), "http://127.0.0.1:7860")
    assert target.secrets == {"a long password", b64encode(b"me:a long password").decode()}


def test_a_placeholder_is_no_secret() -> None:
    assert Target(Acme(), Credentials("x"), "").secrets == frozenset()


def test_a_target_shows_no_secret() -> None:
    assert "key-1" not in repr(Target(get_adapter("openai"), Credentials("key-1"), HOST))


def test_config_version_depends_on_the_settings_not_on_the_caller() -> None:
    stored = Target(get_adapter("openai"), Credentials("key-1"), HOST, operator_credential=True)
    same = replace(stored, forwarded_headers={"x-tenant": "a"}, request_timeout=9.0)
    others = (
        replace(stored, credentials=Credentials("key-2")),
        replace(stored, base_url="https://other.test/v1"),
        replace(stored, override_params={"model": "another"}),
        replace(stored, adapter=get_adapter("stability-ai")),
    )
    assert same.config_version == stored.config_version
    assert len({stored.config_version, *(it.config_version for it in others)}) == 5
    theirs = [
        replace(stored, credentials=Credentials(it), operator_credential=False) for it in ("a", "b")
    ]
    assert theirs[0].config_version == theirs[1].config_version


def test_forwarded_credentials_identify_a_target_and_traces_do_not() -> None:
    target = Target(get_adapter("openai"), Credentials("key-1"), HOST)
    cached = replace(target, cache=CachePolicy(mode="simple"))

    def identity(target: Target, **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(target, forwarded_headers=named).cache_identity

    for name in ("traceparent", "x_request_id", "x_stainless_retry_count", "user_agent", "accept"):
        assert identity(target, **{name: "a"}) == identity(target)
        assert identity(cached, **{name: "a"}) == identity(cached)
    for name in ("authorization", "x_api_key", "api_token", "x_cookie", "proxy_authorization"):
        assert identity(target, **{name: "a"}) != identity(target, **{name: "b"})
    # Other clients may get a cached response.
    assert identity(target, x_tenant="a") == identity(target, x_tenant="b")
    assert identity(cached, x_tenant="a") != identity(cached, x_tenant="b")
