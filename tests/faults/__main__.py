"""Runs all cells and writes the table in docs/reliability.md."""

from __future__ import annotations

import os
import sys

from tests.faults.matrix import run_all
from tests.faults.page import PAGE, replace_table, table


def main() -> None:
    """Write the page; exit with 1 if a result is wrong."""
    os.environ["NO_PROXY"] = "*"
    run = run_all()
    text = table(run)
    PAGE.write_text(replace_table(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    sys.exit("WRONG" in text)


if __name__ == "__main__":
    main()
