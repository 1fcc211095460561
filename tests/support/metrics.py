"""What a gateway has counted."""

from __future__ import annotations

import adapters
from proxy.observability.metrics.labels import (
    NONE,
    OTHER,
)
from proxy.observability.metrics.merge import decode_snapshot
from proxy.observability.metrics.registry import METRICS
from tests.support.gateway import Gateway


def families_of(provider: str) -> set[str]:
    """Give all that `family_of` can say: what the adapter declares, and two words more."""
    it = adapters.get_adapter(provider)
    starts = [start for several, _ in it.tables_by_model for start in _each(several)]
    return {start.rstrip("-./:@_") for start in starts if start} | {*it.models, NONE, OTHER}


def _each(several: str | tuple[str, ...]) -> tuple[str, ...]:
    return (several,) if isinstance(several, str) else several


def counted(ours: Gateway, name: str) -> dict[tuple[str, ...], float]:
    """Give what a gateway has counted by a name; of a histogram, how often."""
    (told,) = [it for it in decode_snapshot(ours.app[METRICS].snapshot()) if it.name == name]
    return {labels: sum(it[:-1]) if it[1:] else it[0] for labels, it in told.samples}
