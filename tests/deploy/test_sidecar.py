"""The sidecar's manifests against Kubernetes' schemas, and what they promise."""

from __future__ import annotations

from typing import Any

import yaml
from click.testing import CliRunner

from proxy.cli.main import main
from proxy.settings.loader import Settings, parse
from tests.deploy.manifests import check
from tests.deploy.tools import DEPLOY

MANIFESTS = list(
    yaml.safe_load_all((DEPLOY / "kubernetes" / "sidecar.yaml").read_text(encoding="utf-8"))
)
ENV = {"EASEL_KEY": "a-key-of-sixteen-characters", "PROVIDER_API_KEY": "theirs"}
POD: Any = MANIFESTS[1]["spec"]["template"]["spec"]
(SIDECAR,), (APP,) = POD["initContainers"], POD["containers"]


def settings() -> Settings:
    return parse(MANIFESTS[0]["data"]["easel.yaml"], environ=ENV)


def test_kubernetes_takes_it() -> None:
    assert check(MANIFESTS) == ["ConfigMap", "Deployment"]


def test_it_is_up_before_the_app_and_ends_after_it() -> None:
    assert SIDECAR["restartPolicy"] == "Always"
    assert "startupProbe" in SIDECAR
    assert POD["terminationGracePeriodSeconds"] > settings().server.shutdown_seconds + 5


def test_nobody_outside_the_pod_reaches_it_and_probes_ask_from_inside() -> None:
    assert settings().server.host == "127.0.0.1"
    for probe in ("startupProbe", "livenessProbe"):
        command = SIDECAR[probe]["exec"]["command"]
        assert command[0] == "easel"
        assert CliRunner().invoke(main, [*command[1:], "--help"]).exit_code == 0


def test_the_app_holds_no_key_of_a_provider_s() -> None:
    assert "PROVIDER_API_KEY" not in str(APP)
    keys = [it["valueFrom"]["secretKeyRef"]["key"] for it in APP["env"] if "valueFrom" in it]
    assert keys == ["EASEL_KEY"]
    assert "envFrom" not in APP


def test_the_app_asks_where_the_sidecar_listens() -> None:
    urls = [it["value"] for it in APP["env"] if it["name"] == "OPENAI_BASE_URL"]
    assert urls == [f"http://127.0.0.1:{settings().server.port}/v1"]
    assert settings().default_configs["app"].config in settings().configs


def test_both_mount_the_folder_of_the_socket_and_share_a_group() -> None:
    folder = settings().server.socket.rpartition("/")[0]
    for container in (SIDECAR, APP):
        assert folder in [it["mountPath"] for it in container["volumeMounts"]]
    assert POD["securityContext"]["fsGroup"] == SIDECAR["securityContext"]["runAsGroup"]
