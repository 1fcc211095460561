"""The table in docs/reliability.md: a row for each behaviour, a column for each kind."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.behaviours import BEHAVIOURS
from tests.faults.kinds import KINDS
from tests.faults.matrix import AS_SENT, CUT, PART, PICTURE, Came, Run
from tests.faults.modes import MODES

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: make fault-matrix -->\n", "<!-- end of the matrix -->\n"
NO_CELL = "-"


def table(run: Run) -> str:
    """Write the table of what came."""
    rows = [[it.name, *(cell(run, it.name, kind.name) for kind in KINDS)] for it in BEHAVIOURS]
    head = ["the provider", *(it.name for it in KINDS)]
    return "\n".join(_line(it) for it in (head, ["---"] * len(head), *rows))


def _line(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"


def cell(run: Run, behaviour: str, kind: str) -> str:
    """Say what came to one who asked once; and of the modes only where it differs."""
    came = {it.name: run.came.get((behaviour, kind, it.name)) for it in MODES}
    alone = came["alone"]
    if alone is None:
        return NO_CELL
    what = said(alone)
    usual = {
        "retry": what,
        "fallback": what if what in (CUT, AS_SENT, PART) else PICTURE,
        "joined": what,
    }
    others = [f"{name}: {said(it)}" for name, it in came.items() if it and name in usual]
    differ = [it for it in others if it != f"{it.split(':')[0]}: {usual[it.split(':')[0]]}"]
    return "; ".join([_told(what), *map(_short, differ)])


def said(came: Came) -> str:
    """Say what the clients of a cell got."""
    return " / ".join(sorted(set(came.got)))


def _told(what: str) -> str:
    status, _, code = what.partition(" ")
    return f"{status} `{code}`" if status.isdigit() and " " not in code else what


def _short(remark: str) -> str:
    name, _, what = remark.partition(": ")
    return f"{name}: {_told(what)}"


def written(page: str, made: str) -> str:
    """Put a table into the page."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{made}\n\n{END}", page)


def read(page: str) -> list[list[str]]:
    """Read the table of the page: its rows without the line below its head."""
    inner = page.partition(BEGIN)[2].partition(END)[0]
    lines = [it for it in inner.splitlines() if it.startswith("|")]
    return [
        [part.strip() for part in it.strip("|").split(" | ")] for it in lines if "---" not in it
    ]
