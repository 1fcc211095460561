"""Case 23, 24: no key and no prompt in any place but those that they are for, whatever happens."""

from __future__ import annotations

import pytest

from tests.support import secret_markers
from tests.support.repeating_provider import CREDENTIALS, REPLIES, WAYS, _asked, watched
from tests.support.secret_markers import keys_in, loose, told


@pytest.mark.parametrize("kind", REPLIES)
@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_what_a_provider_repeats_reaches_nobody(kind: str, credential: str) -> None:
    key, headers_for = CREDENTIALS[credential]
    async with watched(REPLIES[kind]) as (ours, fake, sinks):
        for headers, more in WAYS.values():
            answer = await _asked(ours, {**headers_for(fake.url), **headers}, more)
            assert answer.status
            assert keys_in(told(answer)) == []
    assert keys_in(secret_markers.asked(fake), but=key) == []
    assert not [it for it in fake.requests if "KEYMARK" in it.raw_path]
    assert loose(sinks.text) == []
