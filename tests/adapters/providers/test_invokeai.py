"""InvokeAI: the graph and its seed, and which image of a run is the answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Credentials, ImageCall
from adapters.errors import ProviderError
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.invokeai import ADAPTER
from tests.support.transcripts import translated

GRAPH = {"nodes": {"a": {"type": "noise", "seed": "{{seed}}", "width": "{{width}}"}}, "edges": []}
RESULTS = {
    "x1": {"type": "image_output", "image": {"image_name": "1.png"}},
    "x2": {"type": "latents_output"},
    "x3": {"type": "image_output", "image": {"image_name": "3.png"}},
}


def call(chance: int = 0, node: str = "", **params: Any) -> ImageCall:
    stored = {"invokeai_graph": orjson.dumps(GRAPH).decode(), "invokeai_output_node": node}
    fields = ADAPTER.table_for("").translate(params).fields
    return ImageCall(params, fields, Credentials("", stored), nonce=chance)


def after(call: ImageCall, **item: Any) -> ProviderRequest:
    """Give what is asked for after an item of the queue that is settled."""
    flow = ADAPTER.flow(call)
    next(flow)
    flow.send(ProviderReply(201, body=b'{"item_ids": [1]}'))
    return flow.send(ProviderReply(body=orjson.dumps(item)))


def test_only_the_operator_gives_the_graph() -> None:
    assert all(option.operator_only for option in ADAPTER.options)


def test_where_the_client_gives_no_seed_chance_does() -> None:
    def seed(one: ImageCall) -> int:
        found: int = ADAPTER.build_request(one).json["batch"]["graph"]["nodes"]["a"]["seed"]
        return found

    assert seed(call(chance=41)) == 41
    assert seed(call(chance=41, seed=0)) == 0


def test_a_named_node_is_found_by_the_id_it_was_prepared_under() -> None:
    session = {"results": RESULTS, "source_prepared_mapping": {"draft": ["x1"], "other": ["x2"]}}
    named = after(call(node="draft"), status="completed", session=session)
    assert named.path == "/images/i/1.png/full"
    assert after(call(), status="completed", session=session).path == "/images/i/3.png/full"
    with pytest.raises(ProviderError, match="without an image"):
        after(call(node="other"), status="completed", session=session)


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_any_other_end_is_the_providers_failure(status: str) -> None:
    with pytest.raises(ProviderError) as caught:
        after(call(), status=status, error_message="Out of memory")
    assert caught.value.status == 502
    assert caught.value.message.endswith("Out of memory")


def test_a_images_name_cannot_leave_its_place() -> None:
    results = {"x1": {"image": {"image_name": "../x?y"}}}
    asked = after(call(), status="completed", session={"results": results})
    assert asked.path == "/images/i/..%2Fx%3Fy/full"


def test_an_item_without_an_id_is_none() -> None:
    flow = ADAPTER.flow(call())
    next(flow)
    with pytest.raises(ProviderError, match="but returned no id"):
        flow.send(ProviderReply(201, body=b'{"item_ids": []}'))


def test_what_the_graph_has_no_slot_for_has_a_line_and_no_default() -> None:
    graph = {"nodes": {"a": {"type": "string", "value": "{{prompt}}"}}, "edges": []}
    stored = {"invokeai_graph": orjson.dumps(graph).decode()}
    asked = {"prompt": "a cube", "size": "1024x1024", "seed": 7}
    _, receipt = translated(ADAPTER, asked, Credentials("", stored))
    assert str(receipt) == "dropped size=1024x1024, dropped seed=7"
