"""The chart, with Helm itself, its manifests against Kubernetes' schemas."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from proxy import __version__
from proxy.settings.loader import parse
from tests.deploy.manifests import OLDEST, check
from tests.deploy.tools import DEPLOY, module

CHART = DEPLOY / "helm" / "easel"
ENV = {"EASEL_KEY": "a-key-of-sixteen-characters"}
EVERYTHING: dict[str, Any] = {
    "secrets": ENV,
    "existingSecrets": ["more"],
    "env": {"AWS_REGION": "eu-central-1"},
    "image": {"repository": "easel", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "pull"}],
    "autoscaling": {"enabled": True},
    "ingress": {"enabled": True, "tlsSecret": "certificate"},
    "serviceMonitor": {"enabled": True, "keySecret": {"name": "more"}},
    "networkPolicy": {
        "enabled": True,
        "from": [{"podSelector": {}}],
        "egress": [{"ports": [{"protocol": "TCP", "port": 6379}]}],
    },
    "serviceAccount": {"annotations": {"role": "easel"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "nodeSelector": {"e": "f"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
}
EVERY_KIND = (
    "ConfigMap Deployment HorizontalPodAutoscaler Ingress NetworkPolicy PodDisruptionBudget "
    "Secret Service ServiceAccount"
)
"""All but the ServiceMonitor, which is not Kubernetes' own."""
PLAIN: dict[str, Any] = {
    "podDisruptionBudget": {"enabled": False},
    "serviceAccount": {"create": False},
    "topologySpread": False,
}


def rendered(values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Render the chart; gives its manifests by kind."""
    with module("helm_python").Chart.load(str(CHART)) as chart:
        chart.validate_schema(values or {})
        files = chart.render(values or {}, name="demo", namespace="prod")
    texts = (text for name, text in files.items() if name.endswith(".yaml"))
    return {it["kind"]: it for text in texts for it in yaml.safe_load_all(text) if it}


def pod(manifests: dict[str, Any]) -> Any:
    return manifests["Deployment"]["spec"]["template"]["spec"]


def test_helm_has_nothing_to_say_against_it() -> None:
    told = module("helm_python").lint(str(CHART), EVERYTHING, strict=True)
    assert told["errors"] == []
    assert [it["error"] for it in told["messages"]] == ["icon is recommended"]


def test_helm_says_something_where_there_is_something_to_say() -> None:
    told = module("helm_python").lint(str(CHART), {"replicaCount": "two"}, strict=True)
    assert told["errors"]


def test_the_chart_is_of_this_version_and_asks_for_the_oldest_that_is_checked() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ({}, "ConfigMap Deployment PodDisruptionBudget Service ServiceAccount"),
        (PLAIN, "ConfigMap Deployment Service"),
        (EVERYTHING, EVERY_KIND),
    ],
    ids=["default", "plain", "everything"],
)
def test_kubernetes_takes_what_it_makes(values: dict[str, Any], kinds: str) -> None:
    assert sorted(check(rendered(values).values())) == kinds.split()


def test_the_settings_arrive_as_they_are_and_are_good() -> None:
    own = {"settings": {"jobs": {"memory_bytes": 268435456}, "limits": {"jobs": 2500}}}
    text = rendered(own)["ConfigMap"]["data"]["easel.yaml"]
    settings = parse(text, environ=ENV)
    assert (settings.jobs.memory_bytes, settings.limits.jobs) == (268435456, 2500)
    assert (settings.server.host, settings.state_dir) == ("0.0.0.0", "/var/lib/easel")  # noqa: S104 - a pod's


def test_a_pod_is_given_the_time_that_its_settings_take() -> None:
    own = {"settings": {"server": {"shutdown_seconds": 300}}, "stopping": {"sleepSeconds": 20}}
    assert pod(rendered(own))["terminationGracePeriodSeconds"] > 300 + 20 + 5


def test_a_change_of_settings_restarts_no_pod_and_one_of_secrets_all() -> None:
    one = rendered({"secrets": ENV})
    settings = rendered({"secrets": ENV, "settings": {"log": {"format": "none"}}})
    secrets = rendered({"secrets": {"EASEL_KEY": "another-key-of-many-characters"}})
    assert one["ConfigMap"] != settings["ConfigMap"]
    assert one["Deployment"] == settings["Deployment"]
    assert one["Deployment"] != secrets["Deployment"]


def test_no_secret_stands_outside_of_the_secret() -> None:
    manifests = rendered({"secrets": ENV})
    assert manifests.pop("Secret")["stringData"] == ENV
    assert ENV["EASEL_KEY"] not in str(manifests)


def test_the_container_has_no_rights_and_writes_only_to_volumes() -> None:
    spec = pod(rendered())
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["automountServiceAccountToken"] is False


def test_probes_reach_what_the_settings_listen_on() -> None:
    (container,) = pod(rendered({"settings": {"server": {"port": 9000}}}))["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 9000}]
    for name, path in {
        "readiness": "/readyz",
        "startup": "/readyz",
        "liveness": "/healthz",
    }.items():
        asked = container[f"{name}Probe"]["httpGet"]
        assert (asked["path"], asked["port"]) == (path, "http")
        assert asked["httpHeaders"] == [{"name": "Host", "value": "localhost"}]


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 3},
        {"image": {"digest": "sha256:short"}},
        {"settings": {"server": {"host": "127.0.0.1"}}},
        {"secrets": {"not a name": "x"}},
        {"stopping": {"sleepSeconds": 0}},
    ],
    ids=str,
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(module("helm_python").HelmValuesError):
        rendered(values)
