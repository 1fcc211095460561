"""Health and readiness."""

from __future__ import annotations

from proxy.context import DRAINING
from tests.support.gateway import gateway

NO_KEY = {"api_key": ""}


async def test_probes_need_no_key() -> None:
    async with gateway() as ours:
        for path in ("/", "/healthz", "/readyz"):
            assert (await ours.ask(method="GET", path=path, **NO_KEY)).status == 200


async def test_a_node_that_is_stopping_is_alive_but_not_ready() -> None:
    async with gateway() as ours:
        ours.app[DRAINING].append(True)
        assert (await ours.ask(method="GET", path="/healthz")).status == 200
        got = await ours.ask(method="GET", path="/readyz")
        assert (got.status, got.json) == (503, {"status": "stopping"})


async def test_circuits_are_shown_to_callers_only() -> None:
    async with gateway() as ours:
        verbose = "/readyz?verbose"
        assert (await ours.ask(method="GET", path=verbose)).json["circuits"] == {}
        assert (await ours.ask(method="GET", path=verbose, **NO_KEY)).status == 401
