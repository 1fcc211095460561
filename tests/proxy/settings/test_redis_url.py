"""Redis URLs: which are valid, and which are not."""

from __future__ import annotations

import pytest

from proxy.settings.redis_url import parse_redis_url


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://h", [("h", 6379)]),
        ("rediss://h:6380/2", [("h", 6380)]),
        ("redis://u:p@[::1]:6379/0", [("::1", 6379)]),
        ("redis://[::1]", [("::1", 6379)]),
        ("redis+sentinel://a,b:1,[::2]/m", [("a", 26379), ("b", 1), ("::2", 26379)]),
        ("rediss+cluster://a", [("a", 6379)]),
        ("redis+cluster://:p@a:7000,b:7001/", [("a", 7000), ("b", 7001)]),
    ],
)
def test_hosts_have_the_port_that_is_named_or_that_of_their_kind(
    url: str, hosts: list[tuple[str, int]]
) -> None:
    assert list(parse_redis_url(url).hosts) == hosts


def test_what_stands_before_the_hosts_is_decoded() -> None:
    found = parse_redis_url("redis://us%40er:p%2Fw%3A@h/3")
    assert (found.username, found.password, found.database) == ("us@er", "p/w:", 3)
    assert (parse_redis_url("redis://h").username, parse_redis_url("redis://:@h").password) == (
        None,
        None,
    )


def test_a_scheme_says_the_kind_and_whether_all_is_encrypted() -> None:
    urls = ["redis://h", "rediss://h", "redis+sentinel://h/m", "rediss+cluster://h"]
    assert [(it.kind, it.tls) for it in map(parse_redis_url, urls)] == [
        *(("", False), ("", True), ("sentinel", False), ("cluster", True))
    ]


def test_sentinels_are_asked_for_a_service() -> None:
    found = parse_redis_url("redis+sentinel://h/my-master/4")
    assert (found.service, found.database) == ("my-master", 4)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://", "must be redis://"),
        ("redis://h:65536", "must be redis://"),
        ("redis://u:p/w@h", "must be redis://"),
        ("redis://h/0?socket_timeout=0", "must be redis://"),
        ("redis+other://h", "must be redis://"),
        ("http://h", "must be redis://"),
        ("redis://a,b", "several hosts"),
        ("redis://h/x", "must end with the port, or with /number"),
        ("redis+sentinel://h", "must end with /service"),
        ("redis+sentinel://h/", "must end with /service"),
        ("redis+sentinel://h/m/x", "must end with /service"),
        ("redis+cluster://h/1", "no numbered databases"),
    ],
)
def test_what_is_wrong_is_said_without_the_url(url: str, why: str) -> None:
    secret = "sekret"
    with pytest.raises(ValueError, match=why) as caught:
        parse_redis_url(url.replace("//", f"//:{secret}@", 1) if "@" not in url else url)
    assert secret not in str(caught.value)
    assert caught.value.args[0].startswith("`url` ")


def test_an_address_has_no_repr() -> None:
    assert "sekret" not in repr(parse_redis_url("redis://:sekret@h"))
