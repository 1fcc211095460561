"""The compose file, its settings and its secrets, without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.settings.loader import Settings, load
from tests.deploy.tools import DEPLOY, ROOT, module

FILE = DEPLOY / "compose.yaml"
TEXT = FILE.read_text()
SETTINGS = DEPLOY / "compose" / "easel.yaml"
EXAMPLE = DEPLOY / "compose" / ".env.example"
_REFERENCE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")
_NODES = ("easel-1", "easel-2", "easel-3")
_AFTER_STOPPING = 5


def interpolated(tree: Any) -> Any:
    """Return a part of the file as an engine sees it, with a value for each secret."""
    if isinstance(tree, dict):
        return {key: interpolated(it) for key, it in tree.items()}
    if isinstance(tree, list):
        return list(map(interpolated, tree))
    return _REFERENCE.sub(_value, tree).replace("$$", "$") if isinstance(tree, str) else tree


def _value(found: re.Match[str]) -> str:
    name, kind, default = found.groups()
    return default if kind == "-" else f"{name.lower()}-of-more-than-32-characters"


COMPOSE = interpolated(yaml.safe_load(TEXT))
SERVICES: dict[str, Any] = COMPOSE["services"]


def seconds(text: str) -> int:
    """Read `195s`."""
    return int(text.removesuffix("s"))


def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Read the nodes' settings in the environment that the file gives a node."""
    for name, given in SERVICES["easel-1"]["environment"].items():
        monkeypatch.setenv(name, given)
    return load(str(SETTINGS))


def test_it_is_what_the_specification_asks_for() -> None:
    checked = module("compose_spec").PyCompose.from_yaml(yaml.safe_dump(COMPOSE))
    assert sorted(checked.service_names()) == sorted(SERVICES)


def test_a_specification_that_takes_anything_would_be_no_check() -> None:
    with pytest.raises(ValueError, match="stop_grace_period"):
        module("compose_spec").PyCompose.from_yaml(
            "services: {a: {image: b, stop_grace_period: [no]}}"
        )


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_may_do_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_a_version(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].rpartition(":")
    assert re.search(r"\d", tag) or tag == "local"
    assert "latest" not in tag


def test_what_is_mounted_from_the_checkout_is_there() -> None:
    mounted = [it for service in SERVICES.values() for it in service.get("volumes", ())]
    ours = [it.split(":")[0] for it in mounted if it.startswith(".")]
    assert ours
    assert [it for it in ours if not (DEPLOY / it).exists()] == []


def test_the_nodes_are_given_the_time_that_their_settings_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longest = settings(monkeypatch).server.shutdown_seconds + _AFTER_STOPPING
    for name in _NODES:
        assert seconds(SERVICES[name]["stop_grace_period"]) > longest
    assert seconds(SERVICES["nginx"]["stop_grace_period"]) > longest


def test_the_settings_are_good_and_lead_to_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch)
    assert "@redis:6379" in found.redis.url
    assert found.blobs.s3_endpoint == "http://store:9000"
    assert {"redis", "store"} <= SERVICES.keys()
    port = str(found.server.port)
    assert all(f"{name}:{port}" in (DEPLOY / "nginx" / "easel.conf").read_text() for name in _NODES)


@pytest.mark.parametrize("name", _NODES)
def test_each_node_has_a_folder_of_its_own_for_its_state(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = settings(monkeypatch).state_dir
    mine = [it.split(":")[0] for it in SERVICES[name]["volumes"] if it.endswith(f":{place}")]
    others = [it for other in _NODES if other != name for it in SERVICES[other]["volumes"]]
    assert len(mine) == 1
    assert not [it for it in others if it.startswith(mine[0])]


def test_every_variable_stands_in_the_example_and_none_is_a_secret() -> None:
    lines = [it for it in EXAMPLE.read_text().splitlines() if it and not it.startswith("#")]
    given = dict(line.split("=", 1) for line in lines)
    used = {name for name, _, _ in _REFERENCE.findall(TEXT)} - {"EASEL_VERSION"}
    assert used == given.keys()
    assert [name for name in given if re.search("KEY|PASSWORD", name) and given[name]] == []
    assert "/deploy/compose/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_folder_holds_no_env_file_of_anybody_s() -> None:
    tracked = {it.name for it in Path(DEPLOY / "compose").iterdir()} - {".env"}
    assert tracked == {".env.example", "easel.yaml"}
