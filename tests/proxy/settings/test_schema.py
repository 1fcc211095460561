"""Sections with fixed keys: invalid values, and secrets that have no repr."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.settings import schema
from proxy.settings.loader import SettingsError, parse
from proxy.settings.schema import SECTIONS, Blobs, Images, Redis, Tracing


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_a_default_for_every_key(name: str) -> None:
    assert msgspec.convert({}, SECTIONS[name]) == SECTIONS[name]()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Images, {"unsupported": "ignore"}),
        (Images, {"incomplete": "some"}),
        (Images, {"comment_seconds": 0}),
        (Blobs, {"signing_key": "short"}),
        (Blobs, {"store": "ftp://bucket"}),
        (Redis, {"url": "http://h"}),
        (Redis, {"url": "redis://"}),
        (Redis, {"url": "redis+sentinel://h"}),
        (Redis, {"limits": "ajar"}),
        (Redis, {"timeout_seconds": 0}),
        (Redis, {"timeout_seconds": 11}),
        (Redis, {"prefix": ""}),
        (Redis, {"prefix": "a{b}"}),
        (Tracing, {"endpoint": "collector:4318"}),
        (Tracing, {"endpoint": "http://h/v1/traces?key=1"}),
        (Tracing, {"sample": 1.1}),
        (Tracing, {"sample": -1}),
        (Tracing, {"propagate": "some"}),
        (Tracing, {"service_name": "a\nb"}),
    ],
)
def test_what_is_not_possible_is_refused_by_name(kind: Any, wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(msgspec.ValidationError, match=f"`{name}`"):
        msgspec.convert(wrong, kind)


@pytest.mark.parametrize(
    "url",
    ["redis://u:p@[::1]:6379/0", "rediss+sentinel://a,b,c/mymaster", "redis+cluster://:p@a,b"],
)
def test_a_redis_is_named_by_its_url(url: str) -> None:
    assert msgspec.convert({"url": url}, Redis).url == url


def test_without_its_package_a_redis_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "find_spec", lambda name: None if name == "redis" else name)
    assert Redis() == Redis(url="")
    with pytest.raises(ValueError, match=r"easel-gateway\[redis\]"):
        Redis(url="redis://h")


@pytest.mark.parametrize("chosen", [{"endpoint": "http://h:4318"}, {"enabled": True}])
def test_without_its_package_there_are_no_traces(
    chosen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Tracing(**chosen).is_on
    for missing in (lambda _: None, _not_even_what_it_lies_in):
        monkeypatch.setattr(schema, "find_spec", missing)
        assert not Tracing(sample=0.5).is_on
        with pytest.raises(ValueError, match=rf"`{next(iter(chosen))}` .*easel-gateway\[otel\]"):
            Tracing(**chosen)


def _not_even_what_it_lies_in(name: str) -> None:
    raise ModuleNotFoundError(name)


def test_a_secret_is_not_shown() -> None:
    assert "secret" not in repr(Blobs(signing_key="secret" * 8))
    assert "secret" not in repr(Redis(url="redis://:secret@h", sentinel_password="secret"))


@pytest.mark.parametrize(
    ("said", "watches"),
    [("auto", (True, False)), ("off", (False, False)), ("'off'", (False, False))],
)
def test_what_is_watched_is_said_by_the_setting_and_by_what_is_installed(
    said: str, watches: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = parse(f"server: {{watch: {said}}}", environ={}).server
    with_it = server.watches_settings
    monkeypatch.setattr(schema, "find_spec", lambda name: None if name == "watchfiles" else name)
    assert (with_it, server.watches_settings) == watches


@pytest.mark.parametrize("said", ["on", "'on'", "true"])
def test_without_its_package_nothing_can_be_watched(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"server: {{watch: {said}}}"
    assert parse(text, environ={}).server.watches_settings
    monkeypatch.setattr(schema, "find_spec", lambda name: None if name == "watchfiles" else name)
    with pytest.raises(SettingsError, match=r"server\.watch: .*easel-gateway\[reload\]"):
        parse(text, environ={})
