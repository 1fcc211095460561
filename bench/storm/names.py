"""Custom hosts whose name servers do not answer. The honest caller has new names of its own."""

from __future__ import annotations

import orjson
from yarl import URL

from .attacker import Attacker
from .resolver import LOCAL, SLOW
from .storm import HonestRequest, Storm

_OWN_KEY = {"x-portkey-provider": "openai", "authorization": "Bearer sk-own-key-0123456789"}


def _named_host(number: int, provider: str) -> HonestRequest:
    """Return a request for the stored host, or for a new name of the caller's own."""
    if number % 2:
        return HonestRequest({"x-portkey-virtual-key": "honest"})
    host = f"http://h{number}{LOCAL}:{URL(provider).port}/v1"
    return HonestRequest({**_OWN_KEY, "x-portkey-custom-host": host})


async def _flood(attacker: Attacker) -> None:
    async def send(number: int) -> str:
        body = orjson.dumps({"prompt": f"{number}"})
        host = {"x-portkey-custom-host": f"https://a{number}{SLOW}/v1"}
        return await attacker.post(number, body, {**_OWN_KEY, **host})

    await attacker.flood(send, rate=80, at_once=400)


STORM = Storm(
    "names",
    "80 custom hosts per second whose name servers never answer",
    _flood,
    refusals=frozenset({"502", "504"}),
    module="storm.resolver",
    settings=f"trusted_custom_hosts: ['*{LOCAL}']\ntimeouts: {{connect: 2}}\n",
    honest=_named_host,
)
