"""Kubernetes' own schemas, strict: what they do not know is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.deploy.tools import module

NEWEST, OLDEST = "1.37", "1.30"
"""The oldest version is that of the chart's `kubeVersion`."""
_OTHERS = frozenset({"monitoring.coreos.com/v1"})
"""What is defined by somebody else than Kubernetes, whose schemas do not know it."""


def check(manifests: Iterable[Any]) -> list[str]:
    """Hold manifests against both versions; gives the kinds that were checked."""
    validator = module("kubernetes_validate")
    known = [it for it in manifests if it and it["apiVersion"] not in _OTHERS]
    for manifest in known:
        for version in (OLDEST, NEWEST):
            validator.validate(manifest, version, strict=True)
    return [it["kind"] for it in known]
