"""Values are told apart by what they hold, and show nothing of it."""

from __future__ import annotations

from adapters.frozen import frozen


@frozen
class Secret:
    key: str = ""


def test_a_value_is_what_it_holds() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1


def test_a_value_has_no_room_for_more_and_shows_nothing() -> None:
    assert not hasattr(Secret("a"), "__dict__")
    assert "hunter" not in repr(Secret("hunter"))
