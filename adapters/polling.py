"""Waiting for a job at a provider by asking again."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

from adapters.contract import Adapter, ProviderReply, ProviderRequest
from adapters.errors import ProviderError


def poll(
    adapter: Adapter,
    question: ProviderRequest,
    settled: Callable[[ProviderReply], bool],
    *,
    interval: float = 0.5,
    limit: float = 600.0,
) -> Generator[ProviderRequest, ProviderReply, ProviderReply]:
    """Ask until `settled` says so of a reply, and give that one.

    Waits `interval` seconds before each question and gives up after `limit` seconds of waiting
    (504). An error status is raised as the adapter understands it, unless it is settled.
    """
    question = replace(question, wait=interval)
    for _ in range(int(limit / interval)):
        reply = yield question
        if settled(reply):
            return reply
        adapter.checked(reply)
    raise ProviderError(
        f"The provider was still working after {limit:.0f} seconds.",
        status=504,
        code="timeout",
    )
