"""What the comparison needs, installed into `.bench`; and what of it is not to be had, and why."""

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
_RIVALS = Path(__file__).parents[1] / "rivals"
_ENOUGH_NODE = 18
_BUSY = 0.5


class MissingError(Exception):
    """Something cannot be installed; the message says why, in one line."""


@dataclass
class Environment:
    """Where the programs are. What is left out has its reason in `left_out`.

    `load` is the load average before the run: how much others are at work on the machine.
    """

    wrk: str
    nginx: str
    portkey: Path | None = None
    litellm: Path | None = None
    load: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def prepared(*, rivals: bool) -> Environment:
    """Install what is missing; raises `MissingError` without a load generator or a mock."""
    # nginx is where a user's PATH often does not lead.
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    load, _, _ = os.getloadavg()
    if load > _BUSY:
        say(f"load average {load:.1f}: others are at work here; believe ratios only")
    HOME.mkdir(exist_ok=True)
    made = Environment(_program("wrk", "wrk"), _program("nginx", "nginx-light"), load=load)
    made.versions["wrk"] = _first_line(made.wrk, "-v").split()[1].removeprefix("debian/")
    made.versions["nginx"] = _first_line(made.nginx, "-v").rpartition("/")[2]
    if rivals:
        for name, install in (("portkey", _portkey), ("litellm", _litellm)):
            try:
                install(made)
            except MissingError as error:
                made.left_out[name] = str(error)
    return made


def _program(name: str, package: str) -> str:
    if not shutil.which(name):
        if not shutil.which("apt-get"):
            raise MissingError(f"{name} is not installed")
        say(f"installing {package} ...")
        for command in (["update", "-qq"], ["install", "-y", "-qq", package]):
            _run("apt-get", *command)
    if found := shutil.which(name):
        return found
    raise MissingError(f"{name} is not installed: apt-get install {package}")


def _portkey(made: Environment) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        raise MissingError("Node.js and npm are not installed")
    if int(_first_line("node", "--version").lstrip("v").partition(".")[0]) < _ENOUGH_NODE:
        raise MissingError(f"Node.js is older than {_ENOUGH_NODE}")
    folder, lock = HOME / "portkey", _RIVALS / "package-lock.json"
    package = folder / "node_modules/@portkey-ai/gateway"
    if not _is_as(folder, lock):
        say("installing @portkey-ai/gateway ...")
        folder.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_RIVALS / name, folder)
        _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder))
        _note(folder, lock)
    made.portkey = package / "build/start-server.js"
    node = _first_line("node", "--version")
    version = _first_line("node", "-p", f"require('{package}/package.json').version")
    made.versions["portkey"] = f"{version} (Node.js {node.lstrip('v')})"


def _litellm(made: Environment) -> None:
    folder, pins = HOME / "litellm", _RIVALS / "litellm.txt"
    python = str(folder / "bin/python")
    if not _is_as(folder, pins):
        say("installing litellm[proxy] ...")
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        pip = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install", "-r", str(pins))
        _run(python, *pip)
        _note(folder, pins)
    made.litellm = folder / "bin/litellm"
    code = "from importlib.metadata import version; print(version('litellm'))"
    made.versions["litellm"] = _first_line(python, "-c", code)


def _is_as(folder: Path, pins: Path) -> bool:
    """Tell whether what is pinned is what was installed."""
    noted = folder / "installed"
    return noted.exists() and noted.read_bytes() == pins.read_bytes()


def _note(folder: Path, pins: Path) -> None:
    shutil.copy(pins, folder / "installed")


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)  # noqa: S603 - our own
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"{command[0]}: {type(error).__name__}") from error
    if done.returncode:
        raise MissingError(f"{command[0]} failed: {_last(done.stderr.splitlines())}")


def _first_line(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own
    return next(iter((done.stdout + done.stderr).splitlines()), "")


def _last(lines: Sequence[str]) -> str:
    told = [line.strip() for line in lines if line.strip()]
    return told[-1][:200] if told else "it does not say why"


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(text, file=sys.stderr, flush=True)
