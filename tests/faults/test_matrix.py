"""Every cell ends in the right image, a clear error or a cut response, and leaks nothing."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from tests.faults.behaviours import BEHAVIOURS, Behaviour
from tests.faults.kinds import KINDS
from tests.faults.matrix import (
    AS_SENT,
    CUT,
    ERROR_EVENT,
    IMAGE,
    TRUNCATED,
    Cell,
    Run,
    cells,
    run_all,
)
from tests.faults.modes import MODES
from tests.faults.page import PAGE, parse_table

_MAX_SECONDS = 60.0
"""The gateway's timeouts for two attempts on a busy machine; without them a cell never ends."""
_MAX_GROWTH_BYTES = 128 * 1024 * 1024
"""Concurrent cells may each buffer a response of a megabyte."""


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        yield run_all()


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda it: it.name)
def test_a_fault_ends_in_an_image_an_error_or_a_cut(behaviour: Behaviour, run: Run) -> None:
    own_cells = {it.name: it for it in cells() if it.behaviour is behaviour}
    results = {name: run.results[_key(it)] for name, it in own_cells.items()}
    outcomes = {name: set(it.results) for name, it in results.items()}
    assert {name: it for name, it in outcomes.items() if "WRONG" in str(it)} == {}
    assert [
        it for it in own_cells if AS_SENT in outcomes[it] and not own_cells[it].kind.relayed
    ] == []
    assert [it for it in own_cells if TRUNCATED in outcomes[it] and "half" not in it] == []
    assert [it for it in own_cells if results[it].paid > own_cells[it].mode.max_paid_calls] == []
    assert [it for it in own_cells if results[it].seconds > _MAX_SECONDS] == []
    assert {it.next_result for it in results.values()} == {IMAGE}
    if behaviour.delivers:
        assert {name: it for name, it in outcomes.items() if it != {IMAGE}} == {}
        assert {name: it.paid for name, it in results.items() if it.paid != 1} == {}
    assert [name for name, it in results.items() if it.open_connections] == []
    assert {name: it for name, it in outcomes.items() if len(it) > 1} == {}
    with_fallback = {
        name: it for name, it in outcomes.items() if own_cells[name].mode.name == "fallback"
    }
    good = ({IMAGE}, {CUT}, {AS_SENT}, {TRUNCATED}, {ERROR_EVENT})
    assert {name: it for name, it in with_fallback.items() if it not in good} == {}


def _key(cell: Cell) -> tuple[str, str, str]:
    return cell.behaviour.name, cell.kind.name, cell.mode.name


def test_memory_stays_within_limits(run: Run) -> None:
    before, peak = run.memory
    assert peak - before < _MAX_GROWTH_BYTES


def test_no_fault_logs_a_traceback(run: Run) -> None:
    lines = [orjson.loads(it) for it in run.log.splitlines() if it.startswith("{")]
    assert len(lines) > len(run.results)
    assert [it for it in run.log.splitlines() if "Traceback" in it or "unhandled" in it] == []


def test_the_page_has_a_row_for_each_behaviour_and_a_column_for_each_kind() -> None:
    head, *rows = parse_table(PAGE.read_text(encoding="utf-8"))
    assert head[1:] == [it.name for it in KINDS]
    assert [it[0] for it in rows] == [it.name for it in BEHAVIOURS]
    assert all(len(it) == len(head) for it in rows)


def test_the_matrix_is_not_empty() -> None:
    assert len(list(cells())) > 30 * len(KINDS) * len(MODES)
