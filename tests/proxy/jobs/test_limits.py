"""How many jobs may run at once."""

from __future__ import annotations

import pytest

from proxy.errors import Overloaded
from proxy.jobs.limits import Room


def test_a_caller_that_has_its_share_takes_nobody_elses() -> None:
    room = Room(3, 2)
    room.take("ada")
    room.take("ada")
    with pytest.raises(Overloaded, match=r"`limits\.caller_jobs`"):
        room.take("ada")
    room.take("bob")
    with pytest.raises(Overloaded, match=r"`limits\.jobs`"):
        room.take("bob")


def test_what_ends_makes_room() -> None:
    room = Room(1, 1)
    for _ in range(3):
        room.take("ada")
        room.leave("ada")
    room.take("bob")
