"""Behaviour that a caller asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.sandbox.faults import PARAMS, FaultScript

_DOCS = Path(__file__).parents[3] / "docs" / "sandbox.md"
_FAULTS = _DOCS.read_text().partition("## Fault injection\n")[2]


def test_without_a_script_nothing_fails() -> None:
    assert FaultScript.from_params({"prompt": "fox"}) == FaultScript()
    assert FaultScript().error() is None


def test_a_script_is_read_from_among_other_parameters() -> None:
    params = {"prompt": "fox", "latency_ms": 5, "status": 503, "refuse": True, "cut_after": 9}
    assert FaultScript.from_params(params) == FaultScript(5, 503, refuse=True, cut_after=9)


def test_every_error_status_can_be_played() -> None:
    for status in range(400, 600):
        failure = FaultScript(status=status).error()
        assert failure is not None, status
        assert failure.status == status
        assert failure.type, status


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "invalid_api_key"), (429, "rate_limit_exceeded"), (503, "overloaded"), (418, None)],
)
def test_a_status_brings_the_code_that_fits_it(status: int, code: str | None) -> None:
    failure = FaultScript(status=status).error()
    assert failure is not None
    assert failure.code == code


def test_a_refusal_wins_over_a_status() -> None:
    failure = FaultScript(status=500, refuse=True).error()
    assert failure is not None
    assert (failure.status, failure.code) == (400, "moderation_blocked")


def test_the_documentation_lists_every_script_with_its_bounds() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", _FAULTS, re.MULTILINE)
    bounds = {name: [int(number) for number in re.findall(r"\d+", value)] for name, value in rows}
    assert bounds == {
        row.name: [bound for bound in (row.low, row.high) if bound is not None] for row in PARAMS
    }
