"""The comparison with other gateways: what it refuses to count, and how it judges."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from aiohttp import web
from compare import pictures, report
from compare.bench import Found
from compare.contestants import EASEL, PORTKEY, RELAY
from compare.growth import inline
from compare.load import Asked, BadAnswersError, Loader, read, script
from compare.servers import Server
from compare.soak import Left, Sample, slope
from compare.targets import LINES, Line, NotMeasuredError, outcome, ratio
from pytest_aiohttp import AiohttpServer

GOOD = "Running 3s test\nMEASURED 100 3000000 36700 0 0 0 0 0 1500 9000\n"


def test_a_load_is_read_in_seconds() -> None:
    load = read(GOOD, 367)
    assert (load.requests, load.seconds, load.p50, load.p99) == (100, 3, 0.0015, 0.009)


@pytest.mark.parametrize(
    "output",
    [
        GOOD.replace("0 0 0 0 0 1500", "0 0 0 1 0 1500"),
        GOOD.replace("0 0 0 0 0 1500", "0 2 0 0 0 1500"),
        GOOD.replace("MEASURED 100", "MEASURED 0"),
        GOOD.replace("36700", "36600"),
        "unable to connect",
    ],
    ids=["a status", "a read", "no answer", "not whole", "no measurement"],
)
def test_what_is_no_success_is_no_measurement(output: str) -> None:
    with pytest.raises(BadAnswersError):
        read(output, 367)


@pytest.mark.skipif(not shutil.which("wrk") and "CI" not in os.environ, reason="no wrk")
async def test_a_server_that_fails_ends_the_run(
    aiohttp_server: AiohttpServer, tmp_path: Path
) -> None:
    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=500, body=bytes(367))

    app = web.Application()
    app.router.add_post("/", fail)
    at = await aiohttp_server(app)
    server = Server("fails", f"http://127.0.0.1:{at.port}", os.getpid(), 0)
    with pytest.raises(BadAnswersError, match="status"):
        await Loader("wrk", tmp_path).load(server, Asked("/", b"{}", {}, 367), 2, 1)


def test_a_header_of_any_kind_is_quoted_for_wrk() -> None:
    asked = Asked("/", b"{}", {"x-portkey-config": '{"a": ["b]"]}'})
    assert 'wrk.headers[ [==[x-portkey-config]==] ] = [==[{"a": ["b]"]}]==]' in script(asked)


@pytest.mark.parametrize("size", pictures.SIZES.values())
def test_an_answer_has_exactly_its_size(size: int) -> None:
    assert len(pictures.answer(size)) == size


def test_a_picture_of_the_mock_is_one_by_its_first_bytes() -> None:
    assert all(pictures.held(name).startswith(b"\x89PNG\r\n\x1a\n") for name in pictures.SIZES)


def test_an_inline_config_has_about_the_size_that_it_is_to_have() -> None:
    assert all(0.9 < len(inline(size)) / size < 1.1 for size in (1024, 4096, 32_768))


def found() -> Found:
    values = Found()
    for ours, theirs in ((1.0, 8.0), (2.0, 8.0), (1.0, 4.0)):
        values.add("small-8", EASEL, {"cpu": ours})
        values.add("small-8", PORTKEY, {"cpu": theirs})
    return values


def test_a_line_is_the_ratio_of_medians_and_its_spread_that_of_rounds() -> None:
    line = Line("", ratio("small-8", "cpu", PORTKEY, EASEL), 6, at_least=True)
    made = outcome(line, found())
    assert (made.value, made.low, made.high) == (8, 4, 8)
    assert line.is_met(made.value)
    assert not line.is_met(5.9)


def test_a_line_of_one_who_took_no_part_is_not_measured() -> None:
    with pytest.raises(NotMeasuredError):
        outcome(Line("", ratio("small-8", "cpu", EASEL, RELAY), 1.25), found())


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(BadAnswersError):
        Found().add("small-8", EASEL, {"p50": float("nan")})


def test_results_have_a_row_for_every_target() -> None:
    about = {
        "date": "",
        "machine": "",
        "rounds": 3,
        "load": 0,
        "versions": {},
        "left_out": {PORTKEY: "why"},
    }
    page = report.written({"about": about, "values": found().values})
    assert all(f"| {line.about} |" in page for line in LINES)
    assert "Left out: Portkey: why." in page


def test_results_in_the_repository_are_what_their_numbers_say() -> None:
    if result := report.kept():
        assert (report.PLACE / "results.md").read_text(encoding="utf-8") == report.written(result)


def test_memory_that_stays_has_no_slope() -> None:
    assert slope([Sample(at, 50_000_000, 9) for at in range(9)]) == 0
    assert slope([Sample(at, 1000 * at, 9) for at in range(9)]) == pytest.approx(1000)


def test_the_locks_of_the_rivals_name_no_index() -> None:
    rivals = Path(report.PLACE / "rivals")
    assert '"resolved"' not in (rivals / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in (rivals / "litellm.txt").read_text(encoding="utf-8")


def test_tasks_that_are_left_behind_are_no_good_soak() -> None:
    assert Left((10, 12), (20, 24)).is_little
    assert not Left((10, 12), (20, 25)).is_little
    assert not Left((10, 30), (20, 20)).is_little


def test_where_nobody_counts_tasks_a_soak_says_so() -> None:
    left = Left((10, 12), (None, None))
    assert left.is_little
    assert "does not say" in list(left.rows())[1]
