"""Alerts and dashboard, checked with Prometheus' own tools against the gateway's metrics."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml

from tests.deploy.tools import DEPLOY, ROOT, program, run_tool
from tests.support.gateway import KEY, gateway

FOLDER = DEPLOY / "prometheus"
ALERTS = FOLDER / "alerts.yaml"
PROMTOOL = ("promtool", "prometheus")
RULES: dict[str, Any] = {
    it["alert"]: it
    for group in yaml.safe_load(ALERTS.read_text())["groups"]
    for it in group["rules"]
}
DASHBOARD = orjson.loads((DEPLOY / "grafana" / "easel.json").read_bytes())
PANELS = [it for it in DASHBOARD["panels"] if it["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
_ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \|", re.MULTILINE)
_NAMES = re.compile(r"\b(?:easel|process)_[a-z_]+\b")
_OWN = frozenset({"easel_key"})
_PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
METRICS = (ROOT / "docs" / "metrics.md").read_text()
KINDS: dict[str, str] = dict(_ROW.findall(METRICS))
SERIES = {name + part: name for name, kind in KINDS.items() for part in _PARTS[kind]}
"""Series of a scrape -> the metric that it belongs to."""
_MATCHER = re.compile(r'\b(outcome|result|cache|reason|state)\s*[!=]~?\s*"([^"$]*)"')


def used(texts: list[str]) -> set[str]:
    return {name for text in texts for name in _NAMES.findall(text)}


def plain(expression: str) -> str:
    """Replace the variables that Grafana fills in."""
    return re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "5m"))


def test_prometheus_takes_the_settings_and_the_rules() -> None:
    # The key's file is there only beside the nodes.
    run_tool(program(*PROMTOOL), "check", "config", "--syntax-only", FOLDER / "prometheus.yaml")
    run_tool(program(*PROMTOOL), "check", "rules", ALERTS)


def test_alerts_come_when_they_should_and_only_then() -> None:
    run_tool(program(*PROMTOOL), "test", "rules", FOLDER / "alerts_test.yaml")


def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": plain(it)} for n, it in enumerate(EXPRESSIONS)]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run_tool(program(*PROMTOOL), "check", "rules", file)


@pytest.mark.parametrize(
    "texts", [EXPRESSIONS, [it["expr"] for it in RULES.values()]], ids=["dashboard", "alerts"]
)
def test_what_is_asked_for_is_counted(texts: list[str]) -> None:
    assert used(texts) - SERIES.keys() == set()


def test_the_dashboard_shows_all_that_is_counted() -> None:
    assert {SERIES[name] for name in used(EXPRESSIONS)} == KINDS.keys()


def test_every_value_of_a_label_that_is_asked_for_is_one_there_is() -> None:
    for expression in (*EXPRESSIONS, *(it["expr"] for it in RULES.values())):
        for _, values in _MATCHER.findall(expression):
            unknown = [it for it in values.split("|") if f"`{it}`" not in METRICS]
            assert unknown == [], expression


def test_every_alert_says_what_to_do_and_how_soon() -> None:
    meanings = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in RULES if f"| `{name}` |" not in meanings] == []
    for rule in RULES.values():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_no_alert_is_written_about_that_does_not_exist() -> None:
    meanings = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"^\| `(Easel\w+)` \|", meanings, re.MULTILINE)) == RULES.keys()


@dataclass
class Prometheus:
    """A real one, that scrapes as deploy/ says and looks every second."""

    url: str
    session: aiohttp.ClientSession

    async def asked(self, path: str, **query: str) -> Any:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=query) as got:
            told = orjson.loads(await got.read())
            assert told["status"] == "success", told
            return told["data"]

    async def value(self, expression: str) -> float:
        """Return the single value of an expression, -1 while there is none."""
        found = (await self.asked("query", query=expression))["result"]
        return float(found[0]["value"][1]) if found else -1.0


@asynccontextmanager
async def prometheus(folder: Path, node: str) -> AsyncIterator[Prometheus]:
    """Run Prometheus on the files of deploy/ with one node and its gateway key."""
    command = program("prometheus", "prometheus")
    (folder / "alerts.yaml").write_text(ALERTS.read_text())
    (folder / "key").write_text(KEY)
    text = (FOLDER / "prometheus.yaml").read_text().replace(": 15s", ": 1s")
    text = re.sub(r"targets: \[.*\]", f'targets: ["{node}"]', text)
    (folder / "prometheus.yaml").write_text(text.replace("/run/secrets/easel-key", f"{folder}/key"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    process = await asyncio.create_subprocess_exec(
        command,
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={place}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            here = Prometheus(f"http://{place}", session)
            while not await _is_up(here):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
            yield here
    finally:
        process.kill()
        await process.wait()


async def _is_up(here: Prometheus) -> bool:
    try:
        return await here.value('up{job="easel"}') == 1
    except (aiohttp.ClientError, orjson.JSONDecodeError):
        return False


async def test_a_real_prometheus_sees_a_real_gateway_and_nothing_to_complain_of(
    tmp_path: Path,
) -> None:
    settings = "virtual_keys: {box: {provider: sandbox}}\nmetrics: {access: key}\n"
    async with gateway(settings) as ours, prometheus(tmp_path, ours.url[len("http://") :]) as seen:
        assert (await ours.draw(virtual_key="box", params={"size": "64x64"})).status == 200
        ok = 'sum(easel_requests_total{outcome="ok"})'
        while await seen.value(ok) != 1:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.2)
        for expression in EXPRESSIONS:
            await seen.asked("query", query=plain(expression))
        rules = [rule for it in (await seen.asked("rules"))["groups"] for rule in it["rules"]]
        assert len(rules) == len(RULES)
        assert {(it["health"], it["state"]) for it in rules} <= {
            ("ok", "inactive"),
            ("unknown", "inactive"),
        }
        names = await seen.asked("label/__name__/values")
        assert [it for it in names if it.startswith("easel_") and it not in SERIES] == []


def test_panels_lie_beside_each_other() -> None:
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
