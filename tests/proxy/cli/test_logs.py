"""`easel logs`: access lines in columns."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from tests.support.gateway import KEY, PATH
from tests.support.gateway_process import serving

ROOT = Path(__file__).parents[3]
LINE: dict[str, Any] = {
    "time": 1795929228.6,
    "status": 200,
    "method": "POST",
    "path": "/v1/images/generations",
    "ms": 5900.4,
    "caller": "web",
    "provider": "acme",
    "cache": "HIT",
    "error": "",
    "images": 1,
    "bytes_out": 1_500_000,
    "tried": [],
    "trace": "t1",
}
FAILED = {
    **LINE,
    "status": 502,
    "caller": "batch",
    "error": "connection_lost",
    "trace": "t2",
    "tried": [
        _tried := {
            "target": "config.targets[0]",
            "provider": "acme",
            "status": 500,
            "ended": "server_error",
            "retries": 2,
            "ms": 12.0,
        },
        {**_tried, "target": "config.targets[1]", "provider": "other", "ended": "connection_lost"},
    ],
}
ESCAPE = "\x1b"


def to_lines(*lines: object) -> str:
    return "".join(
        f"{line if isinstance(line, str) else orjson.dumps(line).decode()}\n" for line in lines
    )


def easel(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(main, ["logs", *arguments], input=given, catch_exceptions=False)


def traces(shown: str) -> list[str]:
    return re.findall(r"trace=(\S+)", shown)


def test_a_line_says_what_became_of_a_request() -> None:
    shown = easel("-", given=to_lines(LINE)).output
    for word in ("200", "5.9 s", "web", "acme", "HIT", "1 image, 1.4 MB", "trace=t1"):
        assert word in shown
    assert shown.count("\n") == 1


def test_below_a_failure_stands_each_target_that_was_tried() -> None:
    _, first, second = easel("-", given=to_lines(FAILED)).output.splitlines()
    assert re.search(r"targets\[0\] +acme +500 +server_error +2 retries +12 ms", first)
    assert "targets[1]" in second
    assert "connection_lost" in second


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["t1", "t2"]),
        (("--errors",), ["t2"]),
        (("--caller", "web"), ["t1"]),
        (("--provider", "acme"), ["t1", "t2"]),
        (("--provider", "other"), ["t2"]),
        (("--trace", "t1"), ["t1"]),
        (("--trace", "t1", "--errors"), []),
    ],
)
def test_lines_can_be_chosen(options: tuple[str, ...], expected: list[str]) -> None:
    assert traces(easel("-", *options, given=to_lines(LINE, FAILED)).output) == expected


def test_what_is_no_access_line_is_shown_as_it_is_unless_some_are_chosen() -> None:
    given = to_lines("Easel is listening", "[1]", '{"status": "x"}', LINE)
    assert easel("-", given=given).output.splitlines()[0] == "Easel is listening"
    assert easel("-", "--caller", "web", given=given).output.count("\n") == 1


@pytest.mark.parametrize("place", ["trace", "error", "provider", "caller", "path", "prompt"])
def test_nothing_that_a_stranger_sent_moves_the_cursor_or_begins_a_line(place: str) -> None:
    evil = f"a\n200 forged{ESCAPE}[2J\u202e\x9b"
    shown = easel("-", given=to_lines({**LINE, place: evil}, f"not json {ESCAPE}[2J")).output
    assert shown.count("\n") == 2
    assert not {ESCAPE, "\u202e", "\x9b"} & set(shown)


@pytest.mark.parametrize("place", ["time", "ms", "tried", "bytes_out", "images", "caller"])
def test_a_line_of_whatever_form_is_one_line(place: str) -> None:
    values: tuple[Any, ...] = (None, [], {}, [1, {"ms": []}], "x", -1, 1e300, True)
    for value in values:
        result = easel("-", given=to_lines({**LINE, place: value}))
        assert result.exit_code == 0, value
        assert "trace=t1" in result.output, value


def test_colours_are_for_terminals_only() -> None:
    assert ESCAPE not in easel("-", given=to_lines(LINE, FAILED)).output


def test_the_settings_say_which_file(tmp_path: Path) -> None:
    log, settings = tmp_path / "access.log", tmp_path / "my.yaml"
    log.write_text(to_lines(LINE))
    settings.write_text(f"log: {{file: {log}}}")
    assert traces(easel("--config", str(settings)).output) == ["t1"]


def test_where_there_is_nothing_to_read_it_says_so(tmp_path: Path) -> None:
    settings = tmp_path / "my.yaml"
    settings.write_text("log: {format: json}")
    for arguments in (
        (),
        ("--config", str(settings)),
        ("--config", str(tmp_path / "none.yaml")),
        (str(tmp_path / "none.log"),),
    ):
        result = easel(*arguments)
        assert result.exit_code == 1
        assert result.stderr


def test_it_follows_a_file_across_a_rotation_until_it_is_interrupted(tmp_path: Path) -> None:
    log, out = tmp_path / "access.log", tmp_path / "out"
    log.write_text(to_lines(LINE))
    command = [sys.executable, "-m", "proxy", "logs", "--follow", str(log)]
    with (
        out.open("wb") as shown,
        subprocess.Popen(command, cwd=ROOT, stdout=shown) as process,  # noqa: S603 - our own
    ):
        try:
            _until(lambda: traces(out.read_text()) == ["t1"])
            log.rename(tmp_path / "access.log.1")
            text = to_lines(FAILED)
            log.write_text(text[:20])
            with log.open("a") as file:
                file.write(text[20:])
            _until(lambda: traces(out.read_text()) == ["t1", "t2"])
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def _until(is_so: Any) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_running_gateway_writes_what_is_printed_also_once_its_file_was_moved_away(
    tmp_path: Path,
) -> None:
    log, old, settings = (tmp_path / it for it in ("access.log", "access.log.1", "my.yaml"))
    settings.write_text(
        f"api_keys: {{web: {{key: {KEY}}}}}\nvirtual_keys: {{draw: {{provider: sandbox}}}}\n"
        f"log: {{file: {log}}}"
    )
    headers = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "draw"}
    headers["content-type"] = "application/json"
    body = orjson.dumps({"prompt": "a cube", "size": "64x64"})
    with serving(tmp_path, "--config", str(settings)) as url:
        for trace in ("t1", "t2"):
            asked = urllib.request.Request(  # noqa: S310 - ours
                url + PATH, body, {**headers, "x-portkey-trace-id": trace}
            )
            with urllib.request.urlopen(asked) as got:  # noqa: S310 - ours
                assert got.status == 200
            if trace == "t1":
                _until(lambda: log.read_text().endswith("\n"))
                log.rename(old)
    assert traces(easel(str(old)).output) == ["t1"]
    assert traces(easel("--config", str(settings), "--caller", "web").output) == ["t2"]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
