"""Renders `results.md` from `results.json`, and the tables of a quick run."""

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

from .bench import Measurements
from .contestants import GATEWAYS, NAMES
from .environment import Environment
from .growth import GROW_CONFIGS, GROW_JOBS, GROW_KEYS
from .responses import HUGE, LARGE
from .scenarios import CROWD, FORMS, FRESH, LOADS, MEMORY_FULL, STREAMS, WORKERS
from .targets import LINES, Line, NotMeasuredError, outcome

PLACE = Path(__file__).parents[1]
_ROWS = {
    **NAMES,
    MEMORY_FULL: "Easel, result memory full",
    f"b64_json-{LARGE}": "`b64_json` from a URL, 6 MB",
    f"b64_json-{HUGE}": "`b64_json` from a URL, 12 MB",
    f"url-{LARGE}": "`url` from base64, 6 MB",
    f"url-{HUGE}": "`url` from base64, 12 MB",
    "base64": "base64 of 6 MB alone",
}
_COLUMNS = (
    ("cpu", "CPU ms per 1000", 1e6),
    ("cpu_per_gb", "CPU s per GB", 1.0),
    ("rate", "responses per second", 1.0),
    ("p50", "p50 ms", 1e3),
    ("p99", "p99 ms", 1e3),
    ("start", "start to first response, s", 1.0),
    ("idle", "idle, MB", 1e-6),
    ("peak", "peak, MB", 1e-6),
    ("grown", "growth in second half, MB", 1e-6),
    ("answered", "other responses", 1.0),
    ("slowest", "slowest of these, ms", 1e3),
    ("first", "first event, ms", 1e3),
    ("worst", "slowest event, ms", 1e3),
    ("held", "streams held back", 1.0),
    ("added", "added memory, MB", 1e-6),
)
"""Measures, their column headings, and the factor to their unit."""


def describe_run(environment: Environment, rounds: int) -> dict[str, Any]:
    """Return the date, machine, load and versions of a run."""
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


def target_rows(measurements: Measurements, lines: Sequence[Line] = LINES) -> Iterator[str]:
    """Yield a table row for each target."""
    yield "| target | measured | rounds | bound | met |"
    yield "| --- | --- | --- | --- | --- |"
    for line in lines:
        bound = f"at {'least' if line.at_least else 'most'} {_with_unit(line.bound, line.unit)}"
        if line.preferred:
            bound += f", better {_with_unit(line.preferred, line.unit)}"
        try:
            result = outcome(line, measurements)
        except NotMeasuredError:
            yield f"| {line.about} | not measured | | {bound} | |"
            continue
        spread = f"{_number(result.low)} to {_number(result.high)}"
        met = "yes" if line.is_met(result.value) else "**no**"
        value = _with_unit(result.value, line.unit)
        yield f"| {line.about} | {value} | {spread} | {bound} | {met} |"


def tables(measurements: Measurements) -> Iterator[str]:
    """Yield a table for each scenario: medians with the minimum and maximum of the rounds."""
    titles = {load.id: load.title for load in LOADS}
    titles |= {
        FRESH: "new process, then 64 x 6 MB to slow readers",
        CROWD: "1,000 x 6 MB to slow readers, small responses to other clients",
        STREAMS: "latency of events",
        FORMS: "another form than the provider's",
        WORKERS: "one worker and two on all cores, small responses, 64 connections",
        GROW_KEYS: "virtual keys and configs, small responses, 8 connections",
        GROW_JOBS: "open jobs, small responses to other clients, 8 connections",
        GROW_CONFIGS: "KB of inline config, small responses, 8 connections",
    }
    for scenario, title in titles.items():
        if scenario in measurements.values:
            yield from ("", f"### {title}", "", *_table(measurements.values[scenario]))


def _table(contestants: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    columns = [it for it in _COLUMNS if any(it[0] in measures for measures in contestants.values())]
    yield f"| | {' | '.join(head for _, head, _ in columns)} |"
    yield "| --- |" + " --- |" * len(columns)
    order = list(_ROWS)
    for who in sorted(contestants, key=lambda it: order.index(it) if it in _ROWS else int(it)):
        cells = (
            _spread([value * by for value in contestants[who].get(name, [])])
            for name, _, by in columns
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
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2  # noqa: PLR2004 - three significant digits
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _with_unit(value: float, unit: str) -> str:
    return _number(value) + (unit if unit in ("", "x") else f" {unit}")


def render(result: dict[str, Any]) -> str:
    """Return the text of `results.md`."""
    about, measurements = result["about"], Measurements(result["values"])
    versions = ", ".join(f"{NAMES.get(it, it)} {is_}" for it, is_ in about["versions"].items())
    out = [
        "# Comparison with other gateways",
        "",
        "Written by `make bench`; the method is described in [README.md](README.md).",
        "",
        f"{about['date']}; {about['machine']}, load average {about['load']} before; {versions}.",
        "",
    ]
    out += [f"Left out: {NAMES.get(it, it)}: {why}." for it, why in about["left_out"].items()]
    if measurements.values:
        rounds = f"Medians of {about['rounds']} rounds, with the minimum and maximum of the rounds."
        out += ["", rounds, "", "## Targets", "", *target_rows(measurements), ""]
    if result.get("soak"):
        out += ["", "## Soak", "", *result["soak"]]
    if GROW_JOBS in measurements.values:
        out += ["", "## Cost as work grows", "", "![CPU per request as work grows](growth.svg)"]
    if measurements.values:
        out += ["", "## Measured", *tables(measurements)]
    return "\n".join([*out, ""])


def summary(measurements: Measurements) -> dict[str, Any]:
    """Return the short table for the project's README."""
    who = [it for it in GATEWAYS if it in measurements.values.get("small-64", {})]
    columns = (
        ("small-64", "cpu", "CPU ms per 1000 requests, 64 connections", 1e6),
        ("small-64", "rate", "requests per second on one core", 1.0),
        ("large-4", "cpu_per_gb", "CPU seconds per GB, images of 6 MB", 1.0),
        (FRESH, "peak", "peak memory, 64 x 6 MB to slow readers, MB", 1e-6),
        (FRESH, "idle", "idle memory, MB", 1e-6),
        (FRESH, "start", "start to first response, s", 1.0),
    )
    rows = []
    for scenario, measure, title, by in columns:
        values = [measurements.values.get(scenario, {}).get(it, {}).get(measure) for it in who]
        rows.append([title, *(_number(statistics.median(it) * by) if it else "" for it in values)])
    return {"head": ["", *(NAMES[it] for it in who)], "rows": rows}


def load_results() -> dict[str, Any]:
    """Return the recorded results, or an empty dict."""
    file = PLACE / "results.json"
    return orjson.loads(file.read_bytes()) if file.exists() else {}


def save_results(result: dict[str, Any]) -> None:
    """Write results.json and results.md."""
    as_json = orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    (PLACE / "results.json").write_bytes(as_json)
    (PLACE / "results.md").write_text(render(result), encoding="utf-8")
