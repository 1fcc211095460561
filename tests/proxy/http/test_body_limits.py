"""The memory limit for all large request bodies."""

from __future__ import annotations

import pytest

from proxy.errors import Overloaded
from proxy.http.body_limits import BodyMemory, BodyReservation


def test_a_body_is_counted_as_long_as_it_is_referenced() -> None:
    bodies = BodyMemory(100)
    one, other = BodyReservation(bodies), BodyReservation(bodies)
    one.grow(40)
    one.grow(60)
    with pytest.raises(Overloaded, match=r"`limits\.bodies_bytes`"):
        other.grow(41)
    assert bodies.reserved == 60
    del one
    assert bodies.reserved == 0
    other.grow(100)
    assert bodies.reserved == 100
