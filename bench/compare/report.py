"""What was found, for people: `results.md` from `results.json`, and the lines of a quick run."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from proxy import __version__

from .bench import Found
from .contestants import GATEWAYS, NAMES
from .environment import Environment
from .growth import GROW_CONFIGS, GROW_JOBS, GROW_KEYS
from .pictures import HUGE, LARGE
from .scenarios import CROWD, FORMS, FRESH, LOADS, MEMORY_FULL, STREAMS, WORKERS
from .targets import LINES, Line, NotMeasuredError, outcome

PLACE = Path(__file__).parents[1]
_ROWS = {
    **NAMES,
    MEMORY_FULL: "Easel, its memory for answers full",
    f"b64_json-{LARGE}": "`b64_json` from a URL, 6 MB",
    f"b64_json-{HUGE}": "`b64_json` from a URL, 12 MB",
    f"url-{LARGE}": "`url` from base64, 6 MB",
    f"url-{HUGE}": "`url` from base64, 12 MB",
    "base64": "base64 of 6 MB alone",
}
_SHOWN = (
    ("cpu", "CPU ms per 1000", 1e6),
    ("cpu_per_gb", "CPU s per GB", 1.0),
    ("rate", "answers per second", 1.0),
    ("p50", "p50 ms", 1e3),
    ("p99", "p99 ms", 1e3),
    ("start", "start to first answer, s", 1.0),
    ("idle", "idle, MB", 1e-6),
    ("peak", "peak, MB", 1e-6),
    ("grown", "second half adds, MB", 1e-6),
    ("answered", "others answered", 1.0),
    ("slowest", "slowest of them, ms", 1e3),
    ("first", "first event, ms", 1e3),
    ("worst", "latest event, ms", 1e3),
    ("held", "streams held back", 1.0),
    ("added", "memory it adds, MB", 1e-6),
)
"""Measures, how a table heads them, and what they are multiplied by."""


def facts(environment: Environment, rounds: int) -> dict[str, Any]:
    """Give what a result is worth nothing without."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "rounds": rounds,
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "load": round(environment.load, 2),
        "versions": {
            "easel": __version__,
            "python": platform.python_version(),
            **environment.versions,
        },
        "left_out": environment.left_out,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def verdicts(found: Found, lines: Sequence[Line] = LINES) -> Iterator[str]:
    """Give a row for each line: measured, wanted, met or not."""
    yield "| what | measured | rounds | target | met |"
    yield "| --- | --- | --- | --- | --- |"
    for line in lines:
        wanted = f"at {'least' if line.at_least else 'most'} {_told(line.bound, line.unit)}"
        if line.wished:
            wanted += f", better {_told(line.wished, line.unit)}"
        try:
            made = outcome(line, found)
        except NotMeasuredError:
            yield f"| {line.about} | not measured | | {wanted} | |"
            continue
        spread = f"{_number(made.low)} to {_number(made.high)}"
        met = "yes" if line.is_met(made.value) else "**no**"
        yield f"| {line.about} | {_told(made.value, line.unit)} | {spread} | {wanted} | {met} |"


def tables(found: Found) -> Iterator[str]:
    """Give a table for each scenario: medians, and the least and most of a round."""
    titles = {load.id: load.title for load in LOADS}
    titles |= {
        FRESH: "started anew, then 64 x 6 MB to slow readers",
        CROWD: "1,000 x 6 MB to slow readers, small answers to others",
        STREAMS: "events, behind the provider's own time",
        FORMS: "another form than the provider's",
        WORKERS: "one worker and two on all cores, small answers, 64 connections",
        GROW_KEYS: "virtual keys and configs, small answers, 8 connections",
        GROW_JOBS: "open jobs, small answers to others, 8 connections",
        GROW_CONFIGS: "KB of inline config, small answers, 8 connections",
    }
    for scenario, title in titles.items():
        if scenario in found.values:
            yield from ("", f"### {title}", "", *_table(found.values[scenario]))


def _table(contestants: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    shown = [it for it in _SHOWN if any(it[0] in measures for measures in contestants.values())]
    yield f"| | {' | '.join(head for _, head, _ in shown)} |"
    yield "| --- |" + " --- |" * len(shown)
    order = list(_ROWS)
    for who in sorted(contestants, key=lambda it: order.index(it) if it in _ROWS else int(it)):
        cells = (
            _spread([value * by for value in contestants[who].get(name, [])])
            for name, _, by in shown
        )
        yield f"| {_ROWS.get(who) or f'{int(who):,}'} | {' | '.join(cells)} |"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    middle = _number(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2  # noqa: PLR2004 - three digits tell enough
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _told(value: float, unit: str) -> str:
    return _number(value) + (unit if unit in ("", "x") else f" {unit}")


def written(result: dict[str, Any]) -> str:
    """Write `results.md`."""
    about, found = result["about"], Found(result["values"])
    versions = ", ".join(f"{NAMES.get(it, it)} {is_}" for it, is_ in about["versions"].items())
    out = [
        "# Easel beside others",
        "",
        "Written by `make bench`; what it does and how is told in [README.md](README.md).",
        "",
        f"{about['date']}; {about['machine']}, load average {about['load']} before; {versions}.",
        "",
    ]
    out += [f"Left out: {NAMES.get(it, it)}: {why}." for it, why in about["left_out"].items()]
    if found.values:
        rounds = f"Medians of {about['rounds']} rounds, and from the least to the most of a round."
        out += ["", rounds, "", "## Targets", "", *verdicts(found), ""]
    if result.get("soak"):
        out += ["", "## Soak", "", *result["soak"]]
    if GROW_JOBS in found.values:
        out += ["", "## As work grows", "", "![CPU per request as work grows](growth.svg)"]
    if found.values:
        out += ["", "## Measured", *tables(found)]
    return "\n".join([*out, ""])


def summary(found: Found) -> dict[str, Any]:
    """Give the short table that stands in the project's README."""
    who = [it for it in GATEWAYS if it in found.values.get("small-64", {})]
    wanted = (
        ("small-64", "cpu", "CPU ms per 1000 requests, 64 connections", 1e6),
        ("small-64", "rate", "requests per second on one core", 1.0),
        ("large-4", "cpu_per_gb", "CPU seconds per GB, pictures of 6 MB", 1.0),
        (FRESH, "peak", "peak memory, 64 x 6 MB to slow readers, MB", 1e-6),
        (FRESH, "idle", "idle memory, MB", 1e-6),
        (FRESH, "start", "start to first answer, s", 1.0),
    )
    rows = []
    for scenario, measure, title, by in wanted:
        values = [found.values.get(scenario, {}).get(it, {}).get(measure) for it in who]
        rows.append([title, *(_number(statistics.median(it) * by) if it else "" for it in values)])
    return {"head": ["", *(NAMES[it] for it in who)], "rows": rows}


def kept() -> dict[str, Any]:
    """Read what an earlier run has found; nothing, if there was none."""
    file = PLACE / "results.json"
    return orjson.loads(file.read_bytes()) if file.exists() else {}


def keep(result: dict[str, Any]) -> None:
    """Write both files."""
    as_json = orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    (PLACE / "results.json").write_bytes(as_json)
    (PLACE / "results.md").write_text(written(result), encoding="utf-8")
