"""Which custom hosts a caller may use, before DNS resolution."""

from __future__ import annotations

import pytest

from proxy.errors import BadRequest
from proxy.routing.custom_host import is_trusted, parse_custom_host
from tests.support.gateway import Answered, Gateway, gateway, gateway_to

NOBODY = frozenset[str]()
OWN_KEY = {"provider": "openai", "authorization": "Bearer sk-callers-own"}

NO_URLS = (
    *("example.com", "//example.com/v1", "/v1", "http://", "https:///v1", "http:example.com"),
    *("ftp://example.com", "file:///etc/passwd", "javascript:alert(1)", "in-process:"),
    *("http://example.com:0", "http://example.com:65536", "http://example.com:port", "http://["),
    *("http://u@example.com", "http://u:p@example.com/v1", "http://example.com/@a", "http://a@b@c"),
    *("http://example.com?x=1", "http://example.com#v1"),
    *("http://example.com\\@10.0.0.1", "http:\\\\example.com", "http://exa mple.com"),
    *("http://example.com/\r\nx: y", "http://example.com/\0", "http://example.com/" + "v" * 2048),
)
NO_HOSTS = (
    *("example.com.", "127.0.0.1.", "ex%61mple.com", "example.com%00.org", "a..b", ".com", "a_b.c"),
    *(
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.0x1",
        "0",
        "1.2.3.4.5",
        "256.1.1.1",
    ),
    *("a" * 64 + ".com", "*.example.com", "exämple.com", "xn--exmple-cua.com"),
    *("metadata", "metadata.google.internal", "METADATA.azure.com", "instance-data", "0.0.0.0"),  # noqa: S104 - a name that is refused
)
PRIVATE_NAMES = (
    *("localhost", "LOCALHOST", "api.localhost", "gpu.local", "db.internal", "nas.lan", "x.corp"),
    *("router.home", "a.intranet", "x.onion", "x.test", "x.invalid", "h.localdomain"),
    ".".join("abcdefghijk"),
)


@pytest.mark.parametrize(
    "trusted",
    [NOBODY, frozenset({"example.com", "metadata", "0.0.0.0"})],  # noqa: S104 - the same
)
def test_what_is_no_plain_url_of_a_host_is_refused(trusted: frozenset[str]) -> None:
    for text in (*NO_URLS, *(f"http://{host}/v1" for host in NO_HOSTS)):
        with pytest.raises(BadRequest) as caught:
            parse_custom_host(text, trusted)
        found = (caught.value.code, caught.value.legacy)
        assert found == ("invalid_custom_host", "Invalid custom host"), text


@pytest.mark.parametrize("host", PRIVATE_NAMES)
def test_a_private_name_needs_the_operators_trust(host: str) -> None:
    with pytest.raises(BadRequest, match="trusted_custom_hosts"):
        parse_custom_host(f"http://{host}/v1", NOBODY)
    assert parse_custom_host(f"http://{host}/v1", frozenset({host.lower()})).host == host.lower()


@pytest.mark.parametrize(
    "text",
    [
        *("https://api.example.com/v1", "http://example.com", "HTTPS://Example.COM:8443/a/b"),
        *("http://8.8.8.8:8080/v1", "http://[2001:4860:4860::8888]/v1", "https://a-1.b2.example"),
    ],
)
def test_a_public_name_needs_no_trust(text: str) -> None:
    assert str(parse_custom_host(text, NOBODY)).lower().rstrip("/") == text.lower()


def test_what_climbs_in_a_path_stays_on_its_host() -> None:
    assert (
        str(parse_custom_host("https://example.com/v1/../../x", NOBODY)) == "https://example.com/x"
    )


def test_trust_is_by_whole_names() -> None:
    trusted = {"*.svc.cluster.local", "gpu.lan"}
    for host in ("a.svc.cluster.local", "a.b.svc.cluster.local", "gpu.lan"):
        assert is_trusted(host, 443, trusted)
    for host in ("svc.cluster.local", "xsvc.cluster.local", "a.gpu.lan", "gpu.lan.example", "lan"):
        assert not is_trusted(host, 443, trusted)


def test_an_entry_with_a_port_trusts_that_port_alone() -> None:
    trusted = {"gpu.lan:8080", "[::1]:80", "*.svc:443", "localhost:1"}
    for host, port in (("gpu.lan", 8080), ("::1", 80), ("a.svc", 443), ("a.localhost", 1)):
        assert is_trusted(host, port, trusted)
        assert not is_trusted(host, port + 1, trusted)


def test_no_entry_trusts_everything() -> None:
    assert not is_trusted("example.com", 443, {"*", "*.", ""})


async def to_host(ours: Gateway, host: str, **headers: str) -> Answered:
    return await ours.draw(custom_host=host, **{**OWN_KEY, **headers})


async def test_a_rejected_host_is_a_400_in_both_error_formats() -> None:
    async with gateway() as ours:
        got = await to_host(ours, "http://metadata.google.internal/")
        assert (got.status, got.error["code"]) == (400, "invalid_custom_host")
        assert got.error["param"] == "x-portkey-custom-host"
        assert (got.json["status"], got.json["message"]) == ("failure", "Invalid custom host")


async def test_a_custom_host_replaces_the_base_url() -> None:
    async with gateway_to(more="trusted_custom_hosts: [127.0.0.1]\n") as (ours, fake):
        assert (await to_host(ours, f"{fake.url}/openai/v9/")).status == 200
        assert fake.requests[0].path == "/openai/v9/images/generations"


async def test_the_environment_adds_to_the_trusted_hosts() -> None:
    async with gateway_to(TRUSTED_CUSTOM_HOSTS="gpu.lan, 127.0.0.1") as (ours, fake):
        assert (await to_host(ours, fake.url)).status == 200
