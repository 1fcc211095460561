"""The gateway as a client sees it: every answer, access line and metric as it was recorded.

`make golden` (or `EASEL_RECORD=1 pytest tests/golden/test_golden.py`) records all of them again.
"""

from __future__ import annotations

import difflib
import os

import pytest

from tests.golden.session import RECORDED, names, play

_RECORDS = os.environ.get("EASEL_RECORD") == "1"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Send all requests to one gateway; record what came if that is asked for."""
    texts = play(tmp_path_factory.mktemp("golden"))
    if _RECORDS:
        for file in RECORDED.glob("*.txt"):
            file.unlink()
        for name, text in texts.items():
            (RECORDED / f"{name}.txt").write_text(text, encoding="utf-8")
    return texts


@pytest.mark.parametrize("name", names())
def test_the_gateway_answers_as_recorded(name: str, played: dict[str, str]) -> None:
    file = RECORDED / f"{name}.txt"
    recorded = file.read_text(encoding="utf-8") if file.exists() else ""
    if played[name] != recorded:
        lines = recorded.splitlines(), played[name].splitlines()
        diff = difflib.unified_diff(*lines, f"recorded/{file.name}", "this run", lineterm="")
        pytest.fail("\n".join(["Differs (`make golden` records anew):", *diff]), pytrace=False)


@pytest.mark.usefixtures("played")
def test_each_recorded_file_belongs_to_a_request() -> None:
    assert {file.name for file in RECORDED.iterdir()} == {f"{name}.txt" for name in names()}
