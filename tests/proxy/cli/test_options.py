"""Options that the commands share: the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import easel


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a temporary directory: a gateway stores its state in the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def test_a_file_that_is_not_there_is_named() -> None:
    told = easel("check", "--config", "none.yaml")
    assert (told.exit_code, told.stderr) == (1, "none.yaml: No such file or directory\n")


def test_what_serve_would_refuse_check_refuses(file: Path) -> None:
    file.write_text("server: {host: 0.0.0.0}")
    told = [easel(command, "--config", str(file)) for command in ("check", "serve")]
    assert [it.exit_code for it in told] == [1, 1]
    assert told[0].stderr == told[1].stderr
