"""Runs the storms and writes their rows of the page; exits with 1 if a promise is broken."""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys

from .measure import Outcome, measure
from .report import broken_promises, row, write
from .storms import STORMS


async def run(names: list[str], seconds: float | None) -> list[Outcome]:
    """Run storms one after the other; print each row as soon as it is measured."""
    outcomes = []
    for name in names:
        outcome = await measure(STORMS[name], seconds)
        print(f"{name}: {row(outcome)}", flush=True)
        outcomes.append(outcome)
    return outcomes


def main() -> None:
    """Run the storms of the command line, or all; write their rows of the page."""
    parser = argparse.ArgumentParser(prog="storm", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(STORMS)}")
    parser.add_argument("--seconds", type=float, help="of each attack; the page is not written")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - STORMS.keys():
        parser.error(f"no such storm: {', '.join(unknown)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    outcomes = asyncio.run(run(arguments.names or [*STORMS], arguments.seconds))
    if not arguments.seconds:
        write(outcomes)
    sys.exit(any([*broken_promises(it)] for it in outcomes))


if __name__ == "__main__":
    main()
