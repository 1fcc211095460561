"""Alerts and dashboard, with Prometheus' own checks, against what the gateway counts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.deploy.tools import DEPLOY, ROOT, program, told

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
"""What a scrape gives, and the metric that it belongs to."""
_MATCHER = re.compile(r'\b(outcome|result|cache|reason|state)\s*[!=]~?\s*"([^"$]*)"')


def used(texts: list[str]) -> set[str]:
    return {name for text in texts for name in _NAMES.findall(text)}


def plain(expression: str) -> str:
    """Put something for what Grafana puts there itself."""
    return re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "5m"))


def test_prometheus_takes_the_settings_and_the_rules() -> None:
    # The key's file is there only beside the nodes.
    told(program(*PROMTOOL), "check", "config", "--syntax-only", FOLDER / "prometheus.yaml")
    told(program(*PROMTOOL), "check", "rules", ALERTS)


def test_alerts_come_when_they_should_and_only_then() -> None:
    told(program(*PROMTOOL), "test", "rules", FOLDER / "alerts_test.yaml")


def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": plain(it)} for n, it in enumerate(EXPRESSIONS)]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    told(program(*PROMTOOL), "check", "rules", file)


@pytest.mark.parametrize(
    "texts", [EXPRESSIONS, [it["expr"] for it in RULES.values()]], ids=["dashboard", "alerts"]
)
def test_what_is_asked_for_is_counted(texts: list[str]) -> None:
    assert used(texts) - SERIES.keys() == set()


def test_the_dashboard_shows_all_that_is_counted() -> None:
    assert {SERIES[name] for name in used(EXPRESSIONS)} == KINDS.keys()


@pytest.mark.parametrize("expression", [*EXPRESSIONS, *(it["expr"] for it in RULES.values())])
def test_every_value_of_a_label_that_is_asked_for_is_one_there_is(expression: str) -> None:
    for _, values in _MATCHER.findall(expression):
        assert [it for it in values.split("|") if f"`{it}`" not in METRICS] == []


def test_every_alert_says_what_to_do_and_how_soon() -> None:
    meanings = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in RULES if f"| `{name}` |" not in meanings] == []
    for rule in RULES.values():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_no_alert_is_written_about_that_does_not_exist() -> None:
    meanings = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"^\| `(Easel\w+)` \|", meanings, re.MULTILINE)) == RULES.keys()


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
