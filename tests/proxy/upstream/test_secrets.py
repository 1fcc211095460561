"""Which texts of a credential must never be told."""

from __future__ import annotations

from adapters.contract import Adapter, Credentials, Option
from proxy.plan import Target
from proxy.upstream.secrets import secrets_of


class Acme(Adapter):
    """Has an option that is secret, and one that is not."""

    options = (Option("client", "who"), Option("secret", "its word", secret=True))


def test_secrets_are_the_key_and_the_secret_options() -> None:
    options = {"client": "a-public-name", "secret": "a/long/secret"}
    target = Target(Acme(), Credentials("key-0123456789", options), "")
    assert secrets_of(target) == {"key-0123456789", "a/long/secret", "a\\/long\\/secret"}


def test_a_placeholder_is_no_secret() -> None:
    assert secrets_of(Target(Acme(), Credentials("x"), "")) == frozenset()
