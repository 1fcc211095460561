"""Case 8: the list of headers to forward names what frames a message or opens other doors."""

from __future__ import annotations

import orjson
import pytest

from tests.support.forbidden_headers import REFUSED
from tests.support.gateway import KEY, gateway_to

UP = {"virtual_key": "up"}
SENDABLE = [name for name in REFUSED if name.isascii() and name.isprintable()]


@pytest.mark.parametrize("name", SENDABLE)
async def test_neither_header_nor_config_forwards_it(name: str) -> None:
    config = orjson.dumps({"virtual_key": "up", "forward_headers": [name]}).decode()
    async with gateway_to() as (ours, fake):
        for asked in ({"forward_headers": name, **UP}, {"config": config}):
            got = await ours.draw(**asked)
            assert got.status == 400
            assert got.error["code"] in ("invalid_forward_header", "invalid_config")
        assert not fake.requests


async def test_a_gateway_key_is_never_forwarded() -> None:
    async with gateway_to() as (ours, fake):
        bearer = {"authorization": f"Bearer {KEY}", "forward_headers": "authorization"}
        for key in (KEY, ""):
            assert (await ours.draw(api_key=key, **bearer, **UP)).status == 400
        assert not fake.requests
