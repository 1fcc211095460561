"""The comparison with other gateways: which results it rejects, and how targets are judged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from aiohttp import web
from compare import report, responses
from compare.bench import Measurements
from compare.contestants import EASEL, PORTKEY, RELAY
from compare.growth import inline
from compare.load import BadAnswersError, Loader, Request, read, script
from compare.servers import Server
from compare.soak import Leftovers, Sample, slope
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
    ids=["a status", "a read", "no response", "incomplete", "no measurement"],
)
def test_a_load_with_errors_is_rejected(output: str) -> None:
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
        await Loader("wrk", tmp_path).load(server, Request("/", b"{}", {}, 367), 2, 1)


def test_a_header_of_any_kind_is_quoted_for_wrk() -> None:
    request = Request("/", b"{}", {"x-portkey-config": '{"a": ["b]"]}'})
    assert 'wrk.headers[ [==[x-portkey-config]==] ] = [==[{"a": ["b]"]}]==]' in script(request)


@pytest.mark.parametrize("size", responses.SIZES.values())
def test_a_response_has_exactly_its_size(size: int) -> None:
    assert len(responses.answer(size)) == size


def test_an_image_of_the_mock_begins_with_the_png_signature() -> None:
    assert all(
        responses.image_of(name).startswith(b"\x89PNG\r\n\x1a\n") for name in responses.SIZES
    )


def test_an_inline_config_has_about_the_requested_size() -> None:
    assert all(0.9 < len(inline(size)) / size < 1.1 for size in (1024, 4096, 32_768))


def measurements() -> Measurements:
    values = Measurements()
    for easel_cpu, portkey_cpu in ((1.0, 8.0), (2.0, 8.0), (1.0, 4.0)):
        values.add("small-8", EASEL, {"cpu": easel_cpu})
        values.add("small-8", PORTKEY, {"cpu": portkey_cpu})
    return values


def test_a_target_is_a_ratio_of_medians_with_the_spread_of_rounds() -> None:
    line = Line("", ratio("small-8", "cpu", PORTKEY, EASEL), 6, at_least=True)
    result = outcome(line, measurements())
    assert (result.value, result.low, result.high) == (8, 4, 8)
    assert line.is_met(result.value)
    assert not line.is_met(5.9)


def test_a_target_of_a_missing_contestant_is_not_measured() -> None:
    with pytest.raises(NotMeasuredError):
        outcome(Line("", ratio("small-8", "cpu", EASEL, RELAY), 1.25), measurements())


def test_a_value_that_is_not_a_number_is_rejected() -> None:
    with pytest.raises(BadAnswersError):
        Measurements().add("small-8", EASEL, {"p50": float("nan")})


def test_results_have_a_row_for_every_target() -> None:
    about = {
        "date": "",
        "machine": "",
        "rounds": 3,
        "load": 0,
        "versions": {},
        "left_out": {PORTKEY: "why"},
    }
    page = report.render({"about": about, "values": measurements().values})
    assert all(f"| {line.about} |" in page for line in LINES)
    assert "Left out: Portkey: why." in page


def test_the_recorded_page_is_rendered_from_the_recorded_numbers() -> None:
    if result := report.load_results():
        assert (report.PLACE / "results.md").read_text(encoding="utf-8") == report.render(result)


def test_constant_memory_has_no_slope() -> None:
    assert slope([Sample(at, 50_000_000, 9) for at in range(9)]) == 0
    assert slope([Sample(at, 1000 * at, 9) for at in range(9)]) == pytest.approx(1000)


def test_the_lock_files_of_other_gateways_name_no_index() -> None:
    pins = Path(report.PLACE / "gateways")
    assert '"resolved"' not in (pins / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in (pins / "litellm.txt").read_text(encoding="utf-8")


def test_leaked_tasks_fail_the_soak() -> None:
    assert Leftovers((10, 12), (20, 24)).is_within_limits
    assert not Leftovers((10, 12), (20, 25)).is_within_limits
    assert not Leftovers((10, 30), (20, 20)).is_within_limits


def test_a_soak_without_task_metrics_reports_that() -> None:
    left = Leftovers((10, 12), (None, None))
    assert left.is_within_limits
    assert "not reported" in list(left.rows())[1]
