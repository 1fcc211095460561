"""The unit, with systemd's own checks, and the gateway under its hardest line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import orjson
import pytest

from proxy.settings.schema import Server
from tests.deploy.tools import DEPLOY, ROOT, program, run_tool
from tests.support.gateway import OURS, PATH, SETTINGS

FILE = DEPLOY / "systemd" / "easel.service"
TEXT = FILE.read_text()
UNDER_THE_LINE = """
import ctypes, runpy, sys
refuse_exec_gain = ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, from Linux 6.3 on
sys.exit("old kernel") if refuse_exec_gain else runpy.run_module("proxy", run_name="__main__")
"""
"""The gateway, where the kernel refuses it memory that may be written and run."""
_EXPOSURE = 15
"""Tenths: of 10.0, which is a service without any protection."""


def lines(name: str) -> list[str]:
    """Return all values of a setting."""
    return re.findall(rf"^{name}=(.*)$", TEXT, re.MULTILINE)


def test_systemd_has_nothing_to_say_against_it(tmp_path: Path) -> None:
    # Its program is not where the unit has it: any other stands in.
    unit = tmp_path / "easel.service"
    unit.write_text(TEXT.replace("/opt/easel/bin/easel", sys.executable))
    assert run_tool(program("systemd-analyze", "systemd"), "verify", unit) == ""


def test_little_is_left_that_it_may_do() -> None:
    command = (program("systemd-analyze", "systemd"), "security", "--offline=true")
    run_tool(*command, f"--threshold={_EXPOSURE}", FILE)


def test_it_is_given_the_time_that_the_settings_take() -> None:
    (seconds,) = lines("TimeoutStopSec")
    assert int(seconds) > Server().shutdown_seconds + 5
    assert lines("ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_the_gateway_draws_where_no_memory_may_be_written_and_run(tmp_path: Path) -> None:
    """Not all wheels live with MemoryDenyWriteExecute=; those of the gateway do."""
    assert lines("MemoryDenyWriteExecute") == ["yes"]
    file = tmp_path / "easel.yaml"
    file.write_text(SETTINGS + "virtual_keys: {box: {provider: sandbox}}\n")
    command = (sys.executable, "-c", UNDER_THE_LINE, "serve", "--config", str(file), "--port", "0")
    with subprocess.Popen(  # noqa: S603 - our own command
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            found = re.search(r"http://\S+", process.stdout.readline())
            complaint = "" if found else process.stderr.read()
            if "old kernel" in complaint:
                pytest.skip("needs Linux 6.3")
            assert found, complaint
            headers = {**OURS, "x-portkey-virtual-key": "box", "content-type": "application/json"}
            asked = urllib.request.Request(  # noqa: S310 - loopback
                found[0] + PATH, b'{"prompt": "a cube", "size": "64x64"}', headers
            )
            with urllib.request.urlopen(asked, timeout=20) as got:  # noqa: S310 - the same
                assert orjson.loads(got.read())["data"]
        finally:
            process.terminate()
