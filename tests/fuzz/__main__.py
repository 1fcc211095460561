"""`python -m tests.fuzz SECONDS [TARGET]`: fuzzing with atheris, if it is installed.

Atheris is coverage-guided: it keeps inputs that reach new branches. Each target has a process of
its own. Without atheris, or with `--plain`, inputs are random and the same in every run.
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

_MAX_BYTES = 200
_PLAIN = "--plain"


def run_random(target: Target, seconds: float) -> int:
    """Run a target with random inputs; return how many. Its exceptions propagate."""
    rng = random.Random(target.__name__)  # noqa: S311 - the same in every run
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        data = rng.randbytes(rng.randrange(_MAX_BYTES))
        try:
            target(data)
        except BaseException:
            sys.stderr.write(f"{target.__name__} fails for {data!r}\n")
            raise
        count += 1
    return count


def run_atheris(name: str, seconds: int) -> None:
    """Run a target with atheris, which ends this process."""
    atheris = import_module("atheris")
    # Before our packages are imported. Instrumenting all others would take a minute.
    with atheris.instrument_imports(include=["adapters", "proxy"]):
        target = _targets()[name]
    options = [f"-max_total_time={seconds}", "-max_len=2000", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


def _targets() -> dict[str, Target]:
    return {it.__name__: it for it in import_module("tests.fuzz.targets").TARGETS}


def main(seconds: float, *rest: str) -> None:
    """Run all targets, or one with atheris."""
    if rest and rest[0] != _PLAIN:
        run_atheris(rest[0], int(seconds))
        return
    targets = _targets()
    seconds_each = seconds / len(targets)
    with_atheris = not rest and find_spec("atheris")
    for name, target in targets.items():
        if with_atheris:
            sys.stdout.write(f"{name}: {seconds_each:.0f} seconds\n")
            command = [sys.executable, "-m", "tests.fuzz", str(max(int(seconds_each), 1)), name]
            subprocess.run(command, check=True)  # noqa: S603 - our own command
        else:
            sys.stdout.write(f"{name}: {run_random(target, seconds_each)} inputs\n")


if __name__ == "__main__":
    main(float(sys.argv[1]), *sys.argv[2:])
