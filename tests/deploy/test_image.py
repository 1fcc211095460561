"""The image, as far as it can be held up without an engine to build it."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import orjson
import pytest

from proxy.cli.main import main
from tests.deploy.tools import DEPLOY, ROOT, run_tool, script

FILE = DEPLOY / "Dockerfile"
STEPS = re.sub(r"\\\n", " ", FILE.read_text()).splitlines()
COPIED = [
    place
    for step in STEPS
    if step.startswith("COPY ") and "--from" not in step
    for place in step.split()[1:-1]
]
"""What the build takes from the checkout."""
LOCK = "requirements/image.txt"


def step(name: str) -> str:
    """Return the last instruction of a name in the Dockerfile, without the name."""
    return next(it.removeprefix(name) for it in reversed(STEPS) if it.startswith(name)).strip()


def test_a_linter_has_nothing_to_say_against_it() -> None:
    assert run_tool(script("hadolint"), FILE) == ""


def test_nothing_reaches_the_build_but_what_it_takes() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert "*" in lines
    assert sorted(let_in) == sorted(COPIED)


def test_what_the_build_takes_is_there() -> None:
    assert [it for it in COPIED if it != LOCK and not (ROOT / it).exists()] == []


def test_what_the_build_takes_is_a_whole_gateway(tmp_path: Path) -> None:
    for place in filter(LOCK.__ne__, COPIED):
        to = tmp_path / "build" / place
        to.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / place).is_dir() else shutil.copy)(ROOT / place, to)
    installed = tmp_path / "installed"
    run_tool(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"),
        *("--no-build-isolation", "--target", installed, tmp_path / "build"),
    )
    # Only what has been installed, and what it stands on: nothing of this folder.
    environ = {"PYTHONPATH": str(installed)}
    where = run_tool(
        sys.executable, "-P", "-c", "import proxy; print(proxy.__file__)", environ=environ
    )
    assert where.startswith(str(installed))
    assert "sandbox" in run_tool(sys.executable, "-P", "-m", "proxy", "providers", environ=environ)


def test_it_does_not_run_as_root_and_stops_by_sigterm() -> None:
    uid, _, gid = step("USER").partition(":")
    assert int(uid) > 1000
    assert int(gid) > 1000
    assert step("STOPSIGNAL") == "SIGTERM"


@pytest.mark.parametrize("name", ["ENTRYPOINT", "HEALTHCHECK"])
def test_what_it_calls_is_a_command_of_ours(name: str) -> None:
    command = orjson.loads(re.sub(r".*?(?=\[)", "", step(name)))
    if name == "ENTRYPOINT":
        command += orjson.loads(step("CMD"))
        assert command[2:] == ["--config", "/etc/easel/easel.yaml"]
    assert (command[0], command[1] in main.commands) == ("easel", True)
