"""Holds what is pinned against the known vulnerabilities: `make audit`.

One that is known is a failure. Without a network, or where the index does not know, it says so and
passes: whoever is offline can still check a change.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson

_PINNED = Path(__file__).parent / "run.txt"
_SECONDS = 120


def judged(report: str) -> tuple[str, int]:
    """Give a sentence for people, and the exit status, for pip-audit's report in JSON."""
    try:
        entries = orjson.loads(report)["dependencies"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "audit: skipped, the index of vulnerabilities cannot be reached", 0
    known = [it for it in entries if it.get("vulns")]
    if known:
        lines = [f"  {it['name']} {it['version']}: {_ids(it['vulns'])}" for it in known]
        return "\n".join(["audit: vulnerable", *lines]), 1
    unknown = sum("skip_reason" in it for it in entries)
    if unknown == len(entries):
        return "audit: skipped, the index knows none of what is pinned", 0
    return f"audit: nothing known of {len(entries) - unknown} of {len(entries)} pinned", 0


def _ids(vulnerabilities: list[dict[str, str]]) -> str:
    return ", ".join(it["id"] for it in vulnerabilities)


def main(program: str) -> int:
    """Run pip-audit."""
    asked = [program, "--require-hashes", "--disable-pip", "--requirement", str(_PINNED)]
    asked += ["--format", "json", "--progress-spinner", "off"]
    try:
        run = subprocess.run(asked, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - our own command
        report = run.stdout
    except (OSError, subprocess.TimeoutExpired):
        report = ""
    sentence, status = judged(report)
    sys.stdout.write(sentence + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
