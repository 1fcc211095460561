"""Case 34: few dependencies, each pinned by hash and accounted for; importing does nothing."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).parents[2]
_MOST = 12

_WATCHED = """
import importlib, pkgutil, sys

DOORS = ("_thread.", "os.exec", "os.fork", "os.posix_spawn", "os.startfile", "os.system", "pty.")
DOORS += ("shutil.", "socket.", "subprocess.", "tempfile.", "urllib.", "http.client.", "ftplib.")
DOORS += ("os.chmod", "os.link", "os.mkdir", "os.putenv", "os.remove", "os.rename", "os.rmdir")
WRITES = 0o3 | 0o100 | 0o1000

def hook(event, args):
    writes = event == "open" and isinstance(args[2], int) and args[2] & WRITES
    if writes or event.startswith(DOORS):
        print(event, args)

import threading
sys.addaudithook(hook)
for name in ("adapters", "proxy"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(module.name)
        print("imported", module.name, file=sys.stderr)
print([it for it in threading.enumerate() if it is not threading.main_thread()] or "", end="")
"""


def _required() -> list[str]:
    """Name what the gateway cannot run without."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["install_requires"].split("\n")
    return [found[0] for line in lines if (found := re.match(r"[\w.-]+", line))]


def _pinned() -> str:
    return (ROOT / "requirements" / "run.txt").read_text("utf-8")


def test_no_more_than_a_dozen_are_required_and_each_has_its_reason() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    table = text.partition("| part |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert rows == _required()
    assert len(rows) <= _MOST


def test_all_that_is_installed_is_pinned_by_hash() -> None:
    blocks = re.split(r"\n(?=\S)", _pinned().strip())
    loose = [
        it for it in blocks if not re.match(r"[\w.-]+==\S+.* \\\n +--hash=sha256:[0-9a-f]{64}", it)
    ]
    assert [it for it in loose if not it.startswith("#")] == []
    pinned = {it.partition("==")[0].lower() for it in blocks}
    assert {it.lower() for it in _required()} <= pinned


def test_what_is_imported_is_required() -> None:
    optional = {
        "cryptography",
        "google",
        "opentelemetry",
        "prometheus_client",
        "redis",
        "watchfiles",
    }
    names = {
        "PIL": "Pillow",
        "re2": "google-re2",
        "yaml": "PyYAML",
        "aiohttp_retry": "aiohttp-retry",
    }
    by_aiohttp = {"multidict", "yarl"}
    imported: set[str] = set()
    for path in [*(ROOT / "adapters").rglob("*.py"), *(ROOT / "proxy").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                imported |= {it.name.partition(".")[0] for it in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    foreign = (
        imported - set(sys.stdlib_module_names) - {"adapters", "proxy"} - optional - by_aiohttp
    )
    assert {names.get(it, it) for it in foreign} == set(_required())


def test_to_import_a_module_writes_starts_and_connects_nothing() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-B", "-c", _WATCHED],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == ""
    assert run.stderr.count("imported ") > 150


_KNOWN = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
_CLEAN = {"name": "b", "version": "1", "vulns": []}
_UNKNOWN = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("report", "said", "status"),
    [
        (orjson.dumps({"dependencies": [_CLEAN, _KNOWN]}).decode(), "a 1: CVE-1, CVE-2", 1),
        (orjson.dumps({"dependencies": [_CLEAN, _UNKNOWN]}).decode(), "1 of 2", 0),
        (orjson.dumps({"dependencies": [_UNKNOWN]}).decode(), "skipped", 0),
        ("", "skipped", 0),
        ("[]", "skipped", 0),
    ],
)
def test_an_audit_fails_for_what_is_known_and_not_for_want_of_a_network(
    report: str, said: str, status: int
) -> None:
    evaluate = runpy.run_path(str(ROOT / "requirements" / "audit.py"))["evaluate"]
    message, found = evaluate(report)
    assert said in message
    assert found == status


def test_the_makefile_installs_nothing_without_hashes() -> None:
    installs = re.findall(r"install .*", (ROOT / "Makefile").read_text())
    ours = [line for line in installs if "-r requirements" in line]
    assert ours
    assert all("--require-hashes" in line for line in ours)


FORBIDDEN = re.compile(
    r"(?<![.\w])(eval|exec|__import__)\(|\bpickle\b|yaml\.load\((?!.*SafeLoader)|shell=True"
)


def test_no_code_of_a_caller_is_ever_run() -> None:
    for package in ("adapters", "proxy"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            found = re.search(FORBIDDEN, text)
            assert not found, (path, found)
