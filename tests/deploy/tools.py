"""The programs that check the files of deploy/: linters, schemas, load balancers.

If one is missing, the tests that need it are skipped with the command to install it; in CI they
fail.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_FROM_PYPI = "make deploy-tools"
_SECONDS = 60
_SYSTEM = "/usr/sbin:/sbin"
"""Where Debian installs servers; not on every PATH."""


def program(name: str, package: str) -> str:
    """Return the path of a program from a Debian package."""
    places = os.pathsep.join((os.environ.get("PATH", ""), _SYSTEM))
    return shutil.which(name, path=places) or missing(f"needs the package {package}")


def module(name: str) -> Any:
    """Return a module of a tool from PyPI."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"needs {name}: {_FROM_PYPI}")


def script(name: str) -> str:
    """Return the path of a command from a PyPI package."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=str(beside)) or missing(f"needs {name}: {_FROM_PYPI}")


def run_tool(*command: str | Path, environ: dict[str, str] | None = None) -> str:
    """Run a tool, which must succeed; return its output."""
    done = _run(command, environ)
    assert done.returncode == 0, done.stdout
    return done.stdout


def complaint(*command: str | Path) -> str:
    """Run a tool, which must not be content; gives all that it said."""
    done = _run(command, None)
    assert done.returncode != 0, done.stdout
    return done.stdout


def _run(
    command: Sequence[str | Path], environ: dict[str, str] | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the tools above
        list(map(str, command)),
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def missing(what: str) -> NoReturn:
    """Skip a test for what this machine does not have; fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
