"""What a request reads of the settings is one value, made anew with each reading of the file."""

from __future__ import annotations

import pytest

from proxy.http.allowed_hosts import MisdirectedRequest
from proxy.reload.snapshot import SettingsSnapshot
from proxy.settings.loader import parse
from proxy.upstream.client import ProviderClient


def test_all_that_a_request_reads_is_of_the_same_settings() -> None:
    settings = parse("server: {allowed_hosts: [easel.internal]}", environ={})
    current = SettingsSnapshot(settings)
    assert current.settings is settings
    current.allowed_hosts.check("easel.internal")
    with pytest.raises(MisdirectedRequest):
        current.allowed_hosts.check("other.internal")


def test_what_was_remembered_of_requests_ends_with_the_settings_it_came_of() -> None:
    settings = parse("", environ={})
    current = SettingsSnapshot(settings)
    current.response_digests[b"a"] = b"b"
    assert SettingsSnapshot(settings).response_digests == {}


async def test_providers_are_talked_to_under_the_settings_that_a_request_began_with() -> None:
    first, second = (parse(f"timeouts: {{total: {it}}}", environ={}) for it in (1, 2))
    async with ProviderClient(first) as upstream:
        assert upstream.with_settings(first) is upstream
        later = upstream.with_settings(second)
        assert (later.settings, later.connectors) == (second, upstream.connectors)
        assert later is upstream.with_settings(second)
        assert upstream.with_settings(first).settings is first
