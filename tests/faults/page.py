"""The table in docs/reliability.md: a row for each behaviour, a column for each kind."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.behaviours import BEHAVIOURS
from tests.faults.kinds import KINDS
from tests.faults.matrix import AS_SENT, CUT, ERROR_EVENT, IMAGE, TRUNCATED, CellResult, Run
from tests.faults.modes import MODES

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: make fault-matrix -->\n", "<!-- end of the matrix -->\n"
NO_CELL = "-"


def table(run: Run) -> str:
    """Return the table."""
    rows = [[it.name, *(cell(run, it.name, kind.name) for kind in KINDS)] for it in BEHAVIOURS]
    head = ["the provider", *(it.name for it in KINDS)]
    return "\n".join(_line(it) for it in (head, ["---"] * len(head), *rows))


def _line(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"


def cell(run: Run, behaviour: str, kind: str) -> str:
    """Return the result of a single request, and each other mode's if it differs from the usual."""
    by_mode = {it.name: run.results.get((behaviour, kind, it.name)) for it in MODES}
    result = by_mode.pop("single")
    if result is None:
        return NO_CELL
    single = describe(result)
    usual = {
        "retry": single,
        "fallback": single if single in (CUT, AS_SENT, TRUNCATED, ERROR_EVENT) else IMAGE,
        "coalesced": single,
    }
    differences = [
        f"{name}: {_format_result(describe(other))}"
        for name, other in by_mode.items()
        if other and describe(other) != usual[name]
    ]
    return "; ".join([_format_result(single), *differences])


def describe(result: CellResult) -> str:
    """Return what the clients of a cell got."""
    return " / ".join(sorted(set(result.results)))


def _format_result(result: str) -> str:
    status, _, code = result.partition(" ")
    return f"{status} `{code}`" if status.isdigit() and " " not in code else result


def replace_table(page: str, table_text: str) -> str:
    """Return the page with its table replaced."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{table_text}\n\n{END}", page)


def parse_table(page: str) -> list[list[str]]:
    """Return the cells of the page's table: head and rows, without the separator."""
    inner = page.partition(BEGIN)[2].partition(END)[0]
    lines = [it for it in inner.splitlines() if it.startswith("|")]
    return [
        [part.strip() for part in it.strip("|").split(" | ")] for it in lines if "---" not in it
    ]
