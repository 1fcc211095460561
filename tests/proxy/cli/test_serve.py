"""`easel serve`: output and exit codes before it serves."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import easel

CONFIG = Path(__file__).parents[3] / "config"
KEY = "a-key-of-sixteen-characters"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a temporary directory: a gateway stores its state in the working directory."""
    monkeypatch.delenv("EASEL_KEY_WEB", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


@pytest.fixture
def taken() -> Iterator[str]:
    """Yield a port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", ""])  # noqa: S104 - nothing is bound
def test_without_api_keys_nobody_else_may_reach_it(host: str) -> None:
    told = easel("serve", "--host", host)
    assert (told.exit_code, told.stdout) == (1, "")
    assert "api_keys is empty" in told.stderr
    assert "easel keys new" in told.stderr


def test_production_does_not_start_without_its_environment() -> None:
    told = easel("serve", "--config", str(CONFIG / "production.yaml"))
    assert told.exit_code == 1
    assert "the environment variable EASEL_KEY_WEB is not set" in told.stderr


def test_a_log_file_that_cannot_be_written_is_told_in_a_sentence(file: Path) -> None:
    file.write_text("log: {file: nowhere/access.log}")
    told = easel("serve", "--config", str(file), "--port", "0")
    assert told.exit_code == 1
    assert told.stderr == (
        "easel: cannot write to log.file, nowhere/access.log: No such file or directory.\n"
    )


def test_a_taken_port_is_told_in_a_sentence(taken: str) -> None:
    told = easel("serve", "--port", taken)
    assert told.exit_code == 1
    assert told.stderr == (
        f"easel: cannot listen on 127.0.0.1:{taken}: Address already in use. "
        "Try another --host or --port.\n"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_an_address_that_is_not_ours_is_told_in_a_sentence(file: Path, host: str) -> None:
    file.write_text(f"api_keys: {{web: {{key: {KEY}}}}}")
    told = easel("serve", "--config", str(file), "--host", host, "--port", "0")
    assert told.exit_code == 1
    assert re.fullmatch(rf"easel: cannot listen on {host}:0: .+\. Try another .+\n", told.stderr)


def test_the_generated_key_is_kept_for_its_owner_only(
    tmp_path: Path, file: Path, taken: str
) -> None:
    file.write_text(f"state_dir: {tmp_path}/state")
    told = [easel("serve", "--config", str(file), "--port", taken).stdout for _ in range(2)]
    kept = tmp_path / "state" / "key"
    assert told[0] == told[1] == f"Gateway key: {kept.read_text().strip()} (stored in {kept})\n"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_state_folder_that_cannot_be_is_told_in_a_sentence(tmp_path: Path, file: Path) -> None:
    (tmp_path / "occupied").touch()
    file.write_text(f"state_dir: {tmp_path}/occupied")
    told = easel("serve", "--config", str(file))
    assert told.exit_code == 1
    assert told.stderr.startswith("easel: cannot store a gateway key in state_dir")


def test_no_key_is_made_where_there_are_some(file: Path, taken: str) -> None:
    file.write_text(f"api_keys: {{web: {{key: {KEY}}}}}")
    assert easel("serve", "--config", str(file), "--port", taken).stdout == ""


def test_a_port_is_a_port() -> None:
    assert easel("serve", "--port", "65536").exit_code == 2
