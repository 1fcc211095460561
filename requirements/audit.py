"""Checks the pinned dependencies for known vulnerabilities: `make audit`.

A known vulnerability is a failure. Without a network, or if the index has no data, the check is
skipped with a message and passes, so that `make check` also works offline.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson

_PINNED = Path(__file__).parent / "run.txt"
_SECONDS = 120


def evaluate(report: str) -> tuple[str, int]:
    """Return a message and the exit status for pip-audit's report in JSON."""
    try:
        entries = orjson.loads(report)["dependencies"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "audit: skipped, the vulnerability index is not reachable", 0
    vulnerable = [it for it in entries if it.get("vulns")]
    if vulnerable:
        lines = [f"  {it['name']} {it['version']}: {_ids(it['vulns'])}" for it in vulnerable]
        return "\n".join(["audit: vulnerable", *lines]), 1
    unknown = sum("skip_reason" in it for it in entries)
    if unknown == len(entries):
        return "audit: skipped, the index has no data on the pinned packages", 0
    checked = f"{len(entries) - unknown} of {len(entries)} packages checked"
    return f"audit: no known vulnerabilities ({checked})", 0


def _ids(vulnerabilities: list[dict[str, str]]) -> str:
    return ", ".join(it["id"] for it in vulnerabilities)


def main(program: str) -> int:
    """Run pip-audit."""
    command = [program, "--require-hashes", "--disable-pip", "--requirement", str(_PINNED)]
    command += ["--format", "json", "--progress-spinner", "off"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - our own command
        report = run.stdout
    except (OSError, subprocess.TimeoutExpired):
        report = ""
    message, status = evaluate(report)
    sys.stdout.write(message + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
