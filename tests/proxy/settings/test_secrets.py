"""The generated key is stored, readable only by its owner."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.settings.secrets import generate_key, load_or_create_local_key, load_or_create_secret


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    key, path = load_or_create_local_key(str(tmp_path / "state"))
    assert load_or_create_local_key(str(tmp_path / "state")) == (key, path)
    assert path.read_text(encoding="ascii") == key + "\n"


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    _, path = load_or_create_local_key(str(tmp_path / "state"))
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_one_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    key, path = load_or_create_local_key(str(tmp_path))
    path.chmod(0o644)
    other, _ = load_or_create_local_key(str(tmp_path))
    assert other != key
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_no_key_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hello", encoding="ascii")
    (tmp_path / "key").chmod(0o600)
    assert load_or_create_local_key(str(tmp_path))[0].startswith("easel-")


def test_processes_that_make_it_at_once_have_the_same(tmp_path: Path) -> None:
    folder = repr(str(tmp_path))
    command = (
        "from proxy.settings.secrets import load_or_create_local_key as load; "
        f"print(load({folder})[0])"
    )
    made = [
        subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE)  # noqa: S603 - our own
        for _ in range(8)
    ]
    assert len({it.communicate()[0] for it in made}) == 1
    assert [it.name for it in tmp_path.iterdir()] == ["key"]


def test_the_first_of_two_that_made_it_at_once_stays(tmp_path: Path) -> None:
    def late() -> str:
        load_or_create_local_key(str(tmp_path))
        return generate_key()

    key, path = load_or_create_secret(str(tmp_path), "key", re.compile(r"easel-\S+"), late)
    assert path.read_text(encoding="ascii") == key + "\n"
    assert load_or_create_local_key(str(tmp_path))[0] == key


def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    key, path = load_or_create_local_key(str(tmp_path))
    assert path.read_text(encoding="ascii") == key + "\n"
    assert [it.name for it in tmp_path.iterdir()] == ["key"]


def test_no_two_are_the_same() -> None:
    assert len({generate_key() for _ in range(100)}) == 100


@pytest.mark.parametrize("kept", [b"easel-", b"easel-short", b"\xff\xfe", b"easel-" + b"x" * 33])
def test_what_would_be_a_weak_key_is_replaced(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / "key").write_bytes(kept)
    (tmp_path / "key").chmod(0o600)
    assert len(load_or_create_local_key(str(tmp_path))[0]) == len("easel-") + 32


def test_a_state_folder_may_be_below_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_or_create_local_key("~/.easel")[1] == tmp_path / ".easel" / "key"


def test_a_folder_that_cannot_be_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        load_or_create_local_key(str(tmp_path / "file" / "state"))


def test_secrets_of_other_names_and_forms_are_kept_beside_it(tmp_path: Path) -> None:
    kept = [
        load_or_create_secret(str(tmp_path), "code", re.compile("[ab]+"), lambda: "ab")
        for _ in "12"
    ]
    assert kept == [("ab", tmp_path / "code")] * 2
    (tmp_path / "code").write_text("xyz", encoding="ascii")
    assert (
        load_or_create_secret(str(tmp_path), "code", re.compile("[ab]+"), lambda: "ba")[0] == "ba"
    )
