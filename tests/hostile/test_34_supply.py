"""Case 34: what is installed is not what was looked at, or does something by being imported."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MOST = 12
FORBIDDEN = re.compile(
    r"(?<![.\w])(eval|exec|__import__)\(|\bpickle\b|yaml\.load\((?!.*SafeLoader)|shell=True"
)
WATCHED = """
import sys
done = []
def hook(event, args):
    if event in ("socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.remove"):
        done.append(event)
    if event == "open" and isinstance(args[2], int) and args[2] & 3:
        if not str(args[0]).endswith(".pyc") and "__pycache__" not in str(args[0]):
            done.append(f"open {args[0]}")
sys.dont_write_bytecode = True
sys.addaudithook(hook)
import adapters, proxy.__main__, proxy.app, proxy.serving
for name in adapters.PROVIDERS:
    adapters.adapter(name)
sys.exit("; ".join(done) or 0)
"""


def settings() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_the_gateway_stands_on_no_more_than_a_dozen() -> None:
    needed = settings()["options"]["install_requires"].split("\n")
    assert len([it for it in needed if it]) <= MOST


@pytest.mark.parametrize("name", ["run.txt", "test.txt"])
def test_everything_that_is_installed_is_pinned_by_hash(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    pinned = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert pinned
    for line in pinned:
        assert re.match(r"[A-Za-z0-9._\[\]-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line
    assert "://" not in text


def test_the_makefile_installs_nothing_without_hashes() -> None:
    installs = re.findall(r"install .*", (ROOT / "Makefile").read_text())
    ours = [line for line in installs if "-r requirements" in line]
    assert ours
    assert all("--require-hashes" in line for line in ours)


def test_importing_does_nothing() -> None:
    ran = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", WATCHED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_no_code_of_a_caller_is_ever_run() -> None:
    for package in ("adapters", "proxy"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            found = re.search(FORBIDDEN, text)
            assert not found, (path, found)
