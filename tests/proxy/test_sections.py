"""Sections whose keys are numbers or words of ours: what they refuse, and what they never show."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.sections import SECTIONS, Blobs, Images


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_a_default_for_every_key(name: str) -> None:
    assert msgspec.convert({}, SECTIONS[name]) == SECTIONS[name]()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Images, {"unsupported": "ignore"}),
        (Images, {"incomplete": "some"}),
        (Images, {"comment_seconds": 0}),
        (Blobs, {"signing_key": "short"}),
        (Blobs, {"store": "ftp://bucket"}),
    ],
)
def test_what_is_not_possible_is_refused_by_name(kind: Any, wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(msgspec.ValidationError, match=f"`{name}`"):
        msgspec.convert(wrong, kind)


def test_a_signing_key_is_not_shown() -> None:
    assert "secret" not in repr(Blobs(signing_key="secret" * 8))
