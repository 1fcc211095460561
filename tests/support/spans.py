"""A traced gateway: a story is told to it, and then read in what a real receiver got."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from multidict import CIMultiDict

from tests.support.gateway import Gateway, Provider, Reply, gateway_to
from tests.support.otlp import Received, fresh_receiver

UP = {"virtual_key": "up"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
Story = Callable[[Gateway, Provider], Awaitable[object]]


def config(**tree: Any) -> dict[str, str]:
    """Give the header of an inline config."""
    return {"config": orjson.dumps(tree).decode()}


async def traced(
    story: Story, reply: Reply | None = None, more: str = "", **settings: object
) -> Received:
    """Tell a story, and give all spans of it: a gateway that ends has sent its last ones."""
    receiver = await fresh_receiver()
    chosen = orjson.dumps({"endpoint": receiver.url, **settings}).decode()
    async with gateway_to(reply, f"tracing: {chosen}\n{more}") as (ours, fake):
        await story(ours, fake)
    return await receiver.got()


NO_HEADERS: CIMultiDict[str] = CIMultiDict()
