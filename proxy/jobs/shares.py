"""How much of the cluster's directory each caller takes with jobs that have ended.

A record outlives its job's work, so a caller that orders fast could fill the store that all share.
Beyond its share, a caller's records are deleted, oldest first: first those that no client waits
for, then those of results that wait for their client.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from proxy.jobs.job import JobKey

SHARE_BYTES = 16 * 1024 * 1024
"""Bytes of records that one caller may have from one process."""
_NAMES_BYTES = 512
"""Bytes that the names of a job take in addition to its record."""


class _Held(msgspec.Struct):
    key: JobKey
    size: int
    expires: float


class _Share(msgspec.Struct):
    """The records of one caller: those that no client waits for, and those of waiting results."""

    unneeded: OrderedDict[str, _Held] = msgspec.field(default_factory=OrderedDict)
    waiting: OrderedDict[str, _Held] = msgspec.field(default_factory=OrderedDict)
    size: int = 0


class DirectoryShares:
    """The ended jobs that this process has published, by caller."""

    def __init__(
        self, limit: int = SHARE_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._shares: dict[str, _Share] = {}

    def add(
        self, job_id: str, key: JobKey, size: int, ttl: float, *, is_waiting: bool
    ) -> list[tuple[str, JobKey]]:
        """Count a published record; return the jobs of its caller to delete for it."""
        self.remove(job_id, key.caller)
        share = self._shares.setdefault(key.caller, _Share())
        held = _Held(key, size + _NAMES_BYTES, self._clock() + ttl)
        (share.waiting if is_waiting else share.unneeded)[job_id] = held
        share.size += held.size
        self._drop_expired(share)
        evicted = []
        while share.size > self._limit:
            oldest, evicted_job = (share.unneeded or share.waiting).popitem(last=False)
            share.size -= evicted_job.size
            evicted.append((oldest, evicted_job.key))
        return evicted

    def remove(self, job_id: str, caller: str) -> None:
        """Count a record no longer: it is deleted."""
        if (share := self._shares.get(caller)) is None:
            return
        for jobs in (share.unneeded, share.waiting):
            if held := jobs.pop(job_id, None):
                share.size -= held.size
        if not (share.unneeded or share.waiting):
            del self._shares[caller]

    def _drop_expired(self, share: _Share) -> None:
        now = self._clock()
        for jobs in (share.unneeded, share.waiting):
            while jobs and next(iter(jobs.values())).expires <= now:
                share.size -= jobs.popitem(last=False)[1].size
