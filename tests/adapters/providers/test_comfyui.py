"""ComfyUI: whose graph is run, with which seed, and whose mistake it is when it is not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import orjson
import pytest

from adapters.contract import Credentials, ImageCall
from adapters.errors import BadParam, ProviderError
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.comfyui import ADAPTER
from tests.support.transcripts import translated

OPTIONS = {option.name: option for option in ADAPTER.options}
GRAPH = {"1": {"class_type": "Sampler", "inputs": {"seed": "{{seed}}", "text": "{{prompt}}"}}}
BATCH = {"1": {"class_type": "Latent", "inputs": {"n": "{{n}}", "w": "{{width}}"}}}
AS_THE_EDITOR_SAVES_IT = {"nodes": [{"id": 1, "type": "Sampler"}], "links": []}


def call(graph: Any = GRAPH, chance: int = 0, allow: str = "", **params: Any) -> ImageCall:
    stored = {"comfyui_workflow": orjson.dumps(graph).decode(), "comfyui_allow_graphs": allow}
    fields = ADAPTER.table_for("").translate(params, n=params.get("n", 1)).fields
    return ImageCall(params, fields, Credentials("", stored), n=params.get("n", 1), nonce=chance)


def queued(call: ImageCall) -> list[dict[str, Any]]:
    """Give the inputs of the node in each graph that is queued."""
    flow, graphs = ADAPTER.flow(call), []
    request: ProviderRequest = next(flow)
    while request.path == "/prompt":
        graphs.append(request.json["prompt"]["1"]["inputs"])
        reply = orjson.dumps({"prompt_id": f"job-{len(graphs)}"})
        request = flow.send(ProviderReply(body=reply))
    return graphs


def not_taken(call: ImageCall, status: int, tree: Any) -> ProviderError:
    """Give what comes of a graph that the server does not take."""
    flow = ADAPTER.flow(call)
    next(flow)
    with pytest.raises(ProviderError) as caught:
        flow.send(ProviderReply(status, body=orjson.dumps(tree)))
    return caught.value


def complaint(details: str) -> dict[str, Any]:
    node = {"errors": [{"type": "any", "message": "Not good", "details": details}]}
    return {"error": {"type": "t", "message": "No."}, "node_errors": {"4": node}}


def test_only_the_operator_can_give_a_graph_or_allow_one() -> None:
    assert all(option.operator_only for option in ADAPTER.options)


@pytest.mark.parametrize("value", ["", "[]", "graph.json", "https://a.test/graph.json"])
def test_a_graph_is_the_text_of_an_object(value: str) -> None:
    assert not re.fullmatch(OPTIONS["comfyui_workflow"].pattern, value)
    assert re.fullmatch(OPTIONS["comfyui_workflow"].pattern, ' {\n "1": {}\n}\n')


def test_where_the_client_gives_no_seed_chance_does() -> None:
    assert queued(call(chance=41, prompt="a"))[0]["seed"] == 41
    assert queued(call(chance=41, prompt="a", seed=7))[0]["seed"] == 7
    assert queued(call(chance=41, prompt="a", seed=0))[0]["seed"] == 0


def test_a_graph_without_a_slot_for_n_is_run_n_times_with_other_seeds() -> None:
    assert [it["seed"] for it in queued(call(chance=5, prompt="a", n=3))] == [5, 6, 7]
    assert queued(call(BATCH, prompt="a", n=3)) == [{"n": 3, "w": 1024}]


def test_no_slot_takes_a_part_of_a_graph_from_a_client() -> None:
    graph = {"1": {"class_type": "Sampler", "inputs": {"a": "{{workflow}}", "b": "{{steps}}"}}}
    fields = {"prompt": "a", "steps": ["4", 0]}
    one = replace(call(graph), fields=fields)
    assert queued(one) == [graph["1"]["inputs"]]


@pytest.mark.parametrize("allow", ["", "false"])
def test_a_clients_graph_is_never_run_unasked(allow: str) -> None:
    with pytest.raises(BadParam) as caught:
        next(ADAPTER.flow(call(allow=allow, prompt="a", workflow=GRAPH)))
    assert caught.value.param == "workflow"


@pytest.mark.parametrize("graph", [AS_THE_EDITOR_SAVES_IT, {"1": {}}, {"1": GRAPH}])
def test_a_clients_graph_must_be_one(graph: Any) -> None:
    with pytest.raises(BadParam, match="API format"):
        next(ADAPTER.flow(call(allow="true", prompt="a", workflow=graph)))


def test_a_graph_as_the_editor_saves_it_is_the_operators_to_mend() -> None:
    with pytest.raises(BadParam) as caught:
        next(ADAPTER.flow(call(AS_THE_EDITOR_SAVES_IT, prompt="a")))
    assert caught.value.param == "comfyui_workflow"


def test_a_job_without_an_id_is_none() -> None:
    flow = ADAPTER.flow(call(prompt="a"))
    next(flow)
    with pytest.raises(ProviderError, match="but returned no id"):
        flow.send(ProviderReply(body=b"{}"))


def test_a_jobs_id_cannot_leave_its_place() -> None:
    flow = ADAPTER.flow(call(prompt="a"))
    next(flow)
    question = flow.send(ProviderReply(body=b'{"prompt_id": "../x?y"}'))
    assert question.path == "/history/..%2Fx%3Fy"


@pytest.mark.parametrize(
    ("details", "status"),
    [("ckpt_name: 'a' not in []", 404), ("width", 400), ("batch_size", 400), ("cfg", 502)],
)
def test_a_nodes_complaint_is_the_clients_where_it_is_about_what_was_asked(
    details: str, status: int
) -> None:
    error = not_taken(call(prompt="a"), 400, complaint(details))
    assert error.status == status
    assert error.message.endswith(f"No.: Not good: {details}")


def test_a_graph_of_the_clients_own_is_the_clients_mistake() -> None:
    one = call(allow="true", prompt="a", workflow=GRAPH)
    assert not_taken(one, 400, complaint("cfg")).status == 400


@pytest.mark.parametrize(("status", "ours"), [(403, 403), (500, 502), (404, 404)])
def test_an_error_of_a_proxy_before_it_is_that_error(status: int, ours: int) -> None:
    assert not_taken(call(prompt="a"), status, None).status == ours


def test_what_the_graph_has_no_slot_for_has_a_line_and_no_default() -> None:
    asked = {"prompt": "a cube", "negative_prompt": "people", "size": "1024x1024", "seed": 7}
    stored = {"comfyui_workflow": orjson.dumps(GRAPH).decode()}
    _, receipt = translated(ADAPTER, asked, Credentials("", stored))
    assert str(receipt) == "dropped negative_prompt, dropped size=1024x1024"


def test_a_graph_of_the_clients_that_is_none_does_not_lead_to_the_operators() -> None:
    with pytest.raises(BadParam, match="workflow"):
        queued(call(allow="true", prompt="a", workflow={}))
