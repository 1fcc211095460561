"""`python -m tests.fuzz SECONDS [TARGET]`: with atheris where it is installed.

Atheris sees which branches an input takes, and keeps what takes a new one; it has a process for
each target. Without it, or with `--plain`, inputs are random, and the same in every run.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

Target = Callable[[bytes], None]

_LONGEST = 200
_PLAIN = "--plain"


def mutated(target: Target, seconds: float) -> int:
    """Try a target for a while; gives how often. What it raises is left to be seen."""
    chance = random.Random(target.__name__)  # noqa: S311 - the same in every run
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = chance.randbytes(chance.randrange(_LONGEST))
        try:
            target(data)
        except BaseException:
            sys.stderr.write(f"{target.__name__} fails for {data!r}\n")
            raise
        count += 1
    return count


def guided(name: str, seconds: int) -> None:
    """Try a target with atheris; this process ends with it."""
    atheris = import_module("atheris")
    # Before anything of ours is imported: all else is left alone, it takes a minute.
    with atheris.instrument_imports(include=["adapters", "proxy"]):
        target = _targets()[name]
    options = [f"-max_total_time={seconds}", "-max_len=2000", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


def _targets() -> dict[str, Target]:
    return {it.__name__: it for it in import_module("tests.fuzz.targets").TARGETS}


def main(seconds: float, *rest: str) -> None:
    """Try all targets, or one with atheris."""
    if rest and rest[0] != _PLAIN:
        guided(rest[0], int(seconds))
        return
    targets = _targets()
    each = seconds / len(targets)
    with_atheris = not rest and find_spec("atheris")
    for name, target in targets.items():
        if with_atheris:
            sys.stdout.write(f"{name}: {each:.0f} seconds\n")
            asked = [sys.executable, "-m", "tests.fuzz", str(max(int(each), 1)), name]
            subprocess.run(asked, check=True)  # noqa: S603 - our own command
        else:
            sys.stdout.write(f"{name}: {mutated(target, each)} inputs\n")


if __name__ == "__main__":
    main(float(sys.argv[1]), *sys.argv[2:])
