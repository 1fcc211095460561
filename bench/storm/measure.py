"""One storm, measured: the honest caller alone, then beside the attack."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from processes import MB

from .honest import HonestCaller, Measurement
from .layouts import start
from .storm import Storm

_WARM_UP_SECONDS, _ALONE_SECONDS = 1.0, 4.0


@dataclass(frozen=True)
class Outcome:
    """What was measured. `results` counts what the attacker's clients got."""

    storm: Storm
    alone: Measurement
    beside: Measurement
    results: dict[str, int]
    paid_twice: int
    peak_mb: float
    budget_mb: float

    @property
    def slowdown(self) -> float:
        """How much longer the honest caller's median takes beside the attack."""
        return self.beside.median / self.alone.median


async def measure(storm: Storm, seconds: float | None = None) -> Outcome:
    """Run a storm for `seconds`, by default its own."""
    with tempfile.TemporaryDirectory() as folder:
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            start(storm, Path(folder)) as processes,
            aiohttp.ClientSession(connector=connector) as session,
        ):
            provider = processes.provider.url
            caller = HonestCaller(
                session, processes.urls, lambda number: storm.honest(number, provider)
            )
            await caller.measure(_WARM_UP_SECONDS)
            alone = await caller.measure(_ALONE_SECONDS)
            processes.reset_peak()
            attacker = processes.attacker.url
            (await session.post(f"{attacker}/attack", json=processes.urls)).raise_for_status()
            beside = await caller.measure(seconds or storm.seconds)
            peak = processes.peak()
            async with session.get(attacker) as got:
                got.raise_for_status()
                results = await got.json()
            async with session.get(provider) as got:
                calls = await got.json()
    paid_twice = sum(count > 1 for count in calls.values())
    return Outcome(storm, alone, beside, results, paid_twice, peak / MB, storm.budget_mb)
