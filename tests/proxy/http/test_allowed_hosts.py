"""The host names under which the gateway answers."""

from __future__ import annotations

import pytest

from proxy.http.allowed_hosts import AllowedHosts, MisdirectedRequest
from proxy.settings.schema import Server

OURS = ("localhost", "LocalHost:8787", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8787", None)
OTHERS = (
    *(
        "evil.example",
        "evil.example:8787",
        "127.0.0.1.nip.io",
        "localhost.evil.example",
        "10.0.0.1",
    ),
    *("", ":8787", "127.0.0.1:8787:1", "127.0.0.1@evil.example", "[::1", "::1:x", "localhost:http"),
    *("[::ffff:10.0.0.1]", "0.0.0.1", "2130706433", "x" * 10_000),
)


@pytest.mark.parametrize("listens", ["127.0.0.1", "localhost", "::1"])
def test_on_loopback_only_loopback_names_are_allowed(listens: str) -> None:
    names = AllowedHosts(Server(host=listens))
    for host in OURS:
        names.check(host)
    for host in OTHERS:
        with pytest.raises(MisdirectedRequest, match=r"server\.allowed_hosts"):
            names.check(host)


def test_elsewhere_every_name_is_allowed_unless_names_are_configured() -> None:
    for host in (*OURS, *OTHERS):
        AllowedHosts(Server(host="0.0.0.0")).check(host)  # noqa: S104 - nothing is bound
    set_ = AllowedHosts(Server(host="0.0.0.0", allowed_hosts=("Easel.internal",)))  # noqa: S104
    set_.check("easel.internal:80")
    set_.check("localhost")
    with pytest.raises(MisdirectedRequest):
        set_.check("evil.example")


def test_the_public_urls_host_is_allowed() -> None:
    AllowedHosts(Server(public_url="https://Pictures.example/easel")).check("pictures.example")
