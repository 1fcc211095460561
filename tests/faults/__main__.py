"""Plays all cells, and writes what came into docs/reliability.md."""

from __future__ import annotations

import os
import sys

from tests.faults.matrix import run_all
from tests.faults.page import PAGE, table, written


def main() -> None:
    """Write the page; exit with 1 where something is wrong."""
    os.environ["NO_PROXY"] = "*"
    run = run_all()
    made = table(run)
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    sys.exit("WRONG" in made)


if __name__ == "__main__":
    main()
