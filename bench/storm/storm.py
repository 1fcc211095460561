"""A storm: an attack, the gateways that it hits, and what is promised meanwhile."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from processes import KEY, OTHER_KEY

from .attacker import Attacker

MAX_SLOWDOWN = 3.0
"""How much longer the honest caller's median may take beside an attack."""
JOBS_MB = 64
"""`jobs.memory_bytes` of the gateways, in MB: small, so that the budget is tight."""
_BASE_MB, _MARGIN = 90, 1.25
"""What docs/scaling.md says to plan with: 90 MB a process beside its settings; a quarter on top."""
_SHARED_MB, _SHARE_MB = 30, 16
"""The supervisor or Redis: by itself, and with the records of one caller from each process."""


class Layout(enum.Enum):
    """How the gateway runs."""

    ONE = "one process"
    WORKERS = "2 workers"
    NODES = "2 nodes and Redis"

    @property
    def processes(self) -> int:
        """The number of processes that serve requests."""
        return 1 if self is Layout.ONE else 2


@dataclass(frozen=True)
class HonestRequest:
    """What the honest caller requests: headers and additional parameters."""

    headers: Mapping[str, str]
    params: Mapping[str, Any] = field(default_factory=dict)


def small_image(number: int, provider: str) -> HonestRequest:
    """Return a request for a small image of the scripted provider."""
    del number, provider
    return HonestRequest({"x-portkey-virtual-key": "honest"})


@dataclass(frozen=True)
class Storm:
    """A storm. `clients` runs until it is cancelled; `reply` is what the attacker's provider does.

    The attacker must get at least one of `refusals`, and nothing but these and `allowed`, except
    for what is still open at the end (`held`). `cut` is a closed connection, all else a status.
    `memory_mb` is what settings and docs allow each process in this storm beside the formula of
    docs/scaling.md.
    """

    name: str
    attack: str
    clients: Callable[[Attacker], Awaitable[None]]
    refusals: frozenset[str]
    allowed: frozenset[str] = frozenset()
    reply: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    layout: Layout = Layout.ONE
    module: str = "proxy"
    settings: str = ""
    memory_mb: float = 0
    seconds: float = 12
    honest: Callable[[int, str], HonestRequest] = small_image

    @property
    def budget_mb(self) -> float:
        """The memory that all processes may take together."""
        serving = (_BASE_MB + JOBS_MB + self.memory_mb) * self.layout.processes
        shared = _SHARED_MB + _SHARE_MB * self.layout.processes
        return (serving + shared * (self.layout is not Layout.ONE)) * _MARGIN

    def settings_yaml(self, provider: str, hostile: str) -> str:
        """Return the settings of the gateways, without those of one node."""
        stored = "provider: openai, api_key: none"
        return (
            f"api_keys: {{honest: {{key: {KEY}}}, attacker: {{key: {OTHER_KEY}}}}}\n"
            "virtual_keys:\n"
            f"  honest: {{{stored}, custom_host: {provider}/v1}}\n"
            f"  attack: {{{stored}, custom_host: {hostile}/v1}}\n"
            f"  attack-parsed: {{provider: lemonfox-ai, api_key: none, custom_host: {hostile}}}\n"
            "  box: {provider: sandbox}\n"
            f"jobs: {{memory_bytes: {JOBS_MB << 20}}}\n"
            "cache: {memory_bytes: 0, ready_bytes: 0}\n"
            "log: {format: none, level: error}\n" + self.settings
        )
