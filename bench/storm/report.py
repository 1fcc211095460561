"""Verdicts, and the table in docs/reliability.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from proxy import __version__

from .attacker import HELD
from .measure import Outcome
from .storm import MAX_SLOWDOWN
from .storms import STORMS

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: make storm -->\n", "<!-- end of the storms -->\n"
_HEAD = (
    *("attack", "gateway", "honest caller alone: median, p95", "beside the attack"),
    *("not answered", "paid twice", "memory: peak, budget", "the attacker gets", "promise kept"),
)


def broken_promises(outcome: Outcome) -> Iterator[str]:
    """Yield the promises that a storm broke."""
    storm, results = outcome.storm, outcome.results
    if outcome.slowdown > MAX_SLOWDOWN:
        yield f"{outcome.slowdown:.1f} times slower"
    if outcome.alone.failures or outcome.beside.failures:
        yield "not answered"
    if outcome.paid_twice:
        yield "paid twice"
    if outcome.peak_mb > outcome.budget_mb:
        yield "memory"
    if not storm.refusals & results.keys() or results.keys() - storm.refusals - storm.allowed - {
        HELD
    }:
        yield "the attacker's share"


def row(outcome: Outcome) -> str:
    """Return the row of a storm."""
    storm, alone, beside = outcome.storm, outcome.alone, outcome.beside
    cells = (
        storm.attack,
        storm.layout.value,
        f"{alone.median:.1f} ms, {alone.p95:.1f} ms",
        f"{beside.median:.1f} ms ({outcome.slowdown:.1f} times), {beside.p95:.1f} ms",
        f"{_counts(beside.failures) or 'none'} of {beside.sent}",
        outcome.paid_twice or "none",
        f"{outcome.peak_mb:.0f} MB, {outcome.budget_mb:.0f} MB",
        _counts(outcome.results),
        f"**broken**: {', '.join(broken)}" if (broken := [*broken_promises(outcome)]) else "yes",
    )
    return _line(cells)


def table(rows: Sequence[str]) -> str:
    """Return a table, below a line that says where and when it was measured."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    versions = f"Easel {__version__}, Python {platform.python_version()}"
    about = f"{datetime.now(UTC):%Y-%m-%d}, `make storm`: {versions}, {machine}."
    return "\n".join([about, "", _line(_HEAD), _line(["---"] * len(_HEAD)), *rows])


def write(outcomes: Sequence[Outcome]) -> None:
    """Replace the rows of the page that were measured."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = []
    for storm in STORMS.values():
        start = _line((storm.attack, storm.layout.value))
        measured = [row(it) for it in outcomes if it.storm is storm]
        rows += measured or [it for it in old.splitlines() if it.startswith(start)]
    PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n\n{END}{after}", encoding="utf-8")


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _counts(results: dict[str, int]) -> str:
    return ", ".join(f"{results[it]} x {it}" for it in sorted(results))
