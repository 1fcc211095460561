"""Every cell ends in a right picture, a clear error or a cut; soon, and without a trace."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from tests.faults.behaviours import BEHAVIOURS
from tests.faults.kinds import KINDS
from tests.faults.matrix import AS_SENT, CUT, PART, PICTURE, Cell, Run, cells, run_all
from tests.faults.modes import MODES
from tests.faults.page import PAGE, read

_MOST_SECONDS = 12.0
_MOST_GROWTH = 128 * 1024 * 1024
"""As many cells are under way at once, and each may hold an answer of a megabyte."""


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        yield run_all()


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda it: it.name)
def test_a_fault_ends_in_a_picture_an_error_or_a_cut(behaviour: object, run: Run) -> None:
    mine = {it.name: it for it in cells() if it.behaviour is behaviour}
    came = {name: run.came[_key(it)] for name, it in mine.items()}
    got = {name: set(it.got) for name, it in came.items()}
    assert {name: it for name, it in got.items() if "WRONG" in str(it)} == {}
    assert [it for it in mine if AS_SENT in got[it] and not mine[it].kind.relayed] == []
    assert [it for it in mine if PART in got[it] and "half" not in it] == []
    assert [it for it in mine if came[it].paid > mine[it].mode.paid] == []
    assert [it for it in mine if came[it].seconds > _MOST_SECONDS] == []
    assert {it.afterwards for it in came.values()} == {PICTURE}
    assert [name for name, it in came.items() if it.left] == []
    assert {name: it for name, it in got.items() if len(it) > 1} == {}
    falling = {name: it for name, it in got.items() if mine[name].mode.name == "fallback"}
    good = ({PICTURE}, {CUT}, {AS_SENT}, {PART})
    assert {name: it for name, it in falling.items() if it not in good} == {}


def _key(cell: Cell) -> tuple[str, str, str]:
    return cell.behaviour.name, cell.kind.name, cell.mode.name


def test_no_fault_makes_the_gateway_hold_much(run: Run) -> None:
    before, most = run.memory
    assert most - before < _MOST_GROWTH


def test_no_fault_is_a_bug_in_the_log(run: Run) -> None:
    lines = [orjson.loads(it) for it in run.log.splitlines() if it.startswith("{")]
    assert len(lines) > len(run.came)
    assert [it for it in run.log.splitlines() if "Traceback" in it or "unhandled" in it] == []


def test_the_page_has_a_row_for_each_behaviour_and_a_column_for_each_kind() -> None:
    head, *rows = read(PAGE.read_text(encoding="utf-8"))
    assert head[1:] == [it.name for it in KINDS]
    assert [it[0] for it in rows] == [it.name for it in BEHAVIOURS]
    assert all(len(it) == len(head) for it in rows)


def test_there_are_cells_enough() -> None:
    assert len(list(cells())) > 30 * len(KINDS) * len(MODES)
