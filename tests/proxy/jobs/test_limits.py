"""How many jobs may run at once."""

from __future__ import annotations

import pytest

from proxy.errors import Overloaded
from proxy.jobs.limits import ConcurrencyLimit


def test_a_caller_that_has_its_share_takes_nobody_elses() -> None:
    room = ConcurrencyLimit(3, 2)
    room.acquire("ada")
    room.acquire("ada")
    with pytest.raises(Overloaded, match=r"`limits\.caller_jobs`"):
        room.acquire("ada")
    room.acquire("bob")
    with pytest.raises(Overloaded, match=r"`limits\.jobs`"):
        room.acquire("bob")


def test_what_ends_makes_room() -> None:
    room = ConcurrencyLimit(1, 1)
    for _ in range(3):
        room.acquire("ada")
        room.release("ada")
    room.acquire("bob")
