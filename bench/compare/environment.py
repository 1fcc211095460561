"""Installs the programs of the comparison into `.bench`, and records which are unavailable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".bench"
_PINS = Path(__file__).parents[1] / "gateways"
_MIN_NODE = 18
_BUSY_LOAD = 0.5


class MissingError(Exception):
    """A program cannot be installed; the message gives the reason in one line."""


@dataclass
class Environment:
    """Paths and versions of the programs. `left_out` holds the reason for each that is missing.

    `load` is the load average before the run.
    """

    wrk: str
    nginx: str
    portkey: Path | None = None
    litellm: Path | None = None
    load: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def prepare(*, others: bool) -> Environment:
    """Install missing programs; raise `MissingError` without a load generator or nginx."""
    # nginx is often outside of a user's PATH.
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    load, _, _ = os.getloadavg()
    if load > _BUSY_LOAD:
        log(f"load average {load:.1f}: the machine is busy; trust ratios only")
    HOME.mkdir(exist_ok=True)
    environment = Environment(_program("wrk", "wrk"), _program("nginx", "nginx-light"), load=load)
    environment.versions["wrk"] = (
        _first_line(environment.wrk, "-v").split()[1].removeprefix("debian/")
    )
    environment.versions["nginx"] = _first_line(environment.nginx, "-v").rpartition("/")[2]
    if others:
        for name, install in (("portkey", _portkey), ("litellm", _litellm)):
            try:
                install(environment)
            except MissingError as error:
                environment.left_out[name] = str(error)
    return environment


def _program(name: str, package: str) -> str:
    if not shutil.which(name):
        if not shutil.which("apt-get"):
            raise MissingError(f"{name} is not installed")
        log(f"installing {package} ...")
        for command in (["update", "-qq"], ["install", "-y", "-qq", package]):
            _run("apt-get", *command)
    if found := shutil.which(name):
        return found
    raise MissingError(f"{name} is not installed: apt-get install {package}")


def _portkey(environment: Environment) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        raise MissingError("Node.js and npm are not installed")
    if int(_first_line("node", "--version").lstrip("v").partition(".")[0]) < _MIN_NODE:
        raise MissingError(f"Node.js is older than {_MIN_NODE}")
    folder, lock = HOME / "portkey", _PINS / "package-lock.json"
    package = folder / "node_modules/@portkey-ai/gateway"
    if not _is_current(folder, lock):
        log("installing @portkey-ai/gateway ...")
        folder.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_PINS / name, folder)
        _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder))
        _record_pins(folder, lock)
    environment.portkey = package / "build/start-server.js"
    node = _first_line("node", "--version")
    version = _first_line("node", "-p", f"require('{package}/package.json').version")
    environment.versions["portkey"] = f"{version} (Node.js {node.lstrip('v')})"


def _litellm(environment: Environment) -> None:
    folder, pins = HOME / "litellm", _PINS / "litellm.txt"
    python = str(folder / "bin/python")
    if not _is_current(folder, pins):
        log("installing litellm[proxy] ...")
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        pip = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install", "-r", str(pins))
        _run(python, *pip)
        _record_pins(folder, pins)
    environment.litellm = folder / "bin/litellm"
    code = "from importlib.metadata import version; print(version('litellm'))"
    environment.versions["litellm"] = _first_line(python, "-c", code)


def _is_current(folder: Path, pins: Path) -> bool:
    """Whether the pinned versions are installed."""
    recorded = folder / "installed"
    return recorded.exists() and recorded.read_bytes() == pins.read_bytes()


def _record_pins(folder: Path, pins: Path) -> None:
    shutil.copy(pins, folder / "installed")


def _run(*command: str) -> None:
    try:
        process = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)  # noqa: S603 - our own
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"{command[0]}: {type(error).__name__}") from error
    if process.returncode:
        raise MissingError(f"{command[0]} failed: {_last(process.stderr.splitlines())}")


def _first_line(*command: str) -> str:
    process = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own
    return next(iter((process.stdout + process.stderr).splitlines()), "")


def _last(lines: Sequence[str]) -> str:
    messages = [line.strip() for line in lines if line.strip()]
    return messages[-1][:200] if messages else "no error message"


def log(text: str) -> None:
    """Print progress to standard error."""
    print(text, file=sys.stderr, flush=True)
