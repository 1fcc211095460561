"""Case 25: labels of a caller's making fill the memory of whoever counts, and tell what he said."""

from __future__ import annotations

import orjson
from prometheus_client.parser import text_string_to_metric_families as families

import adapters
from proxy.observability.metrics.labels import ATTEMPT_RESULTS, CACHE_STATUSES, OUTCOMES
from proxy.observability.metrics.merge import decode_snapshot
from proxy.observability.metrics.registry import METRICS
from tests.support.gateway import Gateway, always
from tests.support.metrics import families_of
from tests.support.repeating_provider import GOOD, watched
from tests.support.secret_markers import GATEWAY_KEY, PROMPT, loose

CALLER = {"x_portkey_virtual_key": "up", "x_portkey_api_key": GATEWAY_KEY}
_EVIL = 'STRANGER"} 1\\n{x="'
_MANY = 60


def labels_of(ours: Gateway) -> dict[str, set[str]]:
    """Give every value of every label, by the label's name."""
    found: dict[str, set[str]] = {}
    for told in decode_snapshot(ours.app[METRICS].snapshot()):
        for values, _ in told.samples:
            for name, value in zip(told.labels, values, strict=True):
                found.setdefault(name, set()).add(value)
    return found


async def hostile(ours: Gateway) -> None:
    """Say something new wherever a caller can say anything."""
    for number in range(_MANY):
        word = f"{_EVIL}{number}"
        await ours.draw(PROMPT + word, params={"model": word, "user": word}, **CALLER)
        await ours.draw(PROMPT, params={"model": f"gpt-image-1{word}"}, **CALLER)
        config = orjson.dumps({"provider": word, "virtual_key": word}).decode()
        for named in ({"config": config}, {"provider": f"x{number}"}, {"api_key": word[:20]}):
            await ours.draw(PROMPT, params={"model": f"@{word}/m"}, **{**CALLER, **_full(named)})
        metadata = orjson.dumps({"_user": word}).decode()
        more = {"x_portkey_metadata": metadata, "x_portkey_cache_namespace": f"n{number}"}
        await ours.draw(PROMPT, **{**CALLER, **more, "x_portkey_trace_id": f"t{number}"})
        await ours.ask(method="GET", path=f"/v1/images/jobs/{number}", **CALLER)
        await ours.ask(method="GET", path=f"/nowhere/{number}", **CALLER)


def _full(headers: dict[str, str]) -> dict[str, str]:
    return {f"x_portkey_{name}": value for name, value in headers.items()}


async def test_whatever_callers_and_providers_say_labels_are_of_fixed_sets() -> None:
    error = {"error": {"message": _EVIL, "type": _EVIL, "code": _EVIL, "param": _EVIL}}
    for reply in (always(GOOD), always(error, 400), always(error, 500)):
        async with watched(reply) as (ours, _, _):
            await hostile(ours)
            found = labels_of(ours)
            routes = {it.canonical for it in ours.app.router.resources()}
        assert found["provider"] <= {*adapters.PROVIDERS, "none"}
        assert found["family"] <= families_of("openai")
        assert found["outcome"] <= set(OUTCOMES)
        assert found["result"] <= {*ATTEMPT_RESULTS, "good", "bad"}
        assert found["cache"] <= {*CACHE_STATUSES, "none"}
        assert found["route"] <= {*routes, "none"}
        assert found["status"] <= {"2xx", "3xx", "4xx", "5xx", "none"}


async def test_more_requests_make_no_more_samples() -> None:
    async with watched(always(GOOD)) as (ours, _, _):
        sizes = []
        for _ in range(2):
            await hostile(ours)
            sizes.append(
                {it.name: len(it.samples) for it in decode_snapshot(ours.app[METRICS].snapshot())}
            )
        assert sizes[0] == sizes[1]


async def test_the_page_holds_no_prompt_and_no_key_and_is_whole() -> None:
    async with watched(always(GOOD)) as (ours, _, _):
        await hostile(ours)
        page = (await ours.ask(method="GET", path="/metrics", **CALLER)).body.decode()
    assert "STRANGER" not in page
    assert loose(page) == []
    assert {it.name for it in families(page)} >= {"easel_requests", "easel_http_requests"}
