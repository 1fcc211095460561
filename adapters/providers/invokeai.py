"""InvokeAI: a graph of the operator's, with slots for what the client asks for.

    POST {base}/queue/default/enqueue_batch      a graph -> {"item_ids"}
    GET  {base}/queue/default/i/{id}             while it is pending or in progress
    GET  {base}/images/i/{name}/full             the picture, as bytes

The slots are prompt, negative_prompt, seed, width and height. What the editor saves as a workflow
is not a graph, and is refused. A graph without a slot for seed makes the same picture again.

>>> from adapters.contract import Credentials, ImageCall
>>> graph = '{"nodes": {"a": {"type": "string", "value": "{{prompt}}, oil"}}, "edges": []}'
>>> made = ADAPTER.table_for("").translate({"prompt": "a cube"}).fields
>>> call = ImageCall({}, made, Credentials("", {"invokeai_graph": graph}))
>>> ADAPTER.build_request(call).json["batch"]["graph"]["nodes"]
{'a': {'type': 'string', 'value': 'a cube, oil'}}
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar

from adapters.bases.polling import PollingAdapter, fetch_images
from adapters.contract import Answer, Flow, ImageCall, Option
from adapters.errors import ProviderError, error_from_reply, no_image_error
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import graphs
from adapters.tools.json_access import dig_list, dig_str, dig_typed
from adapters.tools.url_paths import quote_segment

_GRAPH, _NODE = "invokeai_graph", "invokeai_output_node"
_SEEDS = 2**32

_TABLE = Table(
    (
        *graphs.ROWS,
        Param("seed", kind=int, low=0, high=_SEEDS - 1),
    ),
    closed=True,
)


class InvokeAI(PollingAdapter):
    """An InvokeAI server of one's own; a key is needed in its multi-user mode only."""

    id = "invokeai"
    name = "InvokeAI"
    base_url = "http://127.0.0.1:9090/api/v1"
    docs = "https://invoke-ai.github.io/InvokeAI/"
    tables_by_model = (("", _TABLE),)
    models = (graphs.DEFAULT_MODEL,)
    keyless = True
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            _GRAPH,
            "a graph (nodes, edges; JSON) with slots such as {{prompt}}, or an object of several",
            pattern=r"(?s)\s*\{.*\}\s*",
            operator_only=True,
        ),
        Option(
            _NODE,
            "the graph's node whose picture is the answer; without it, the last picture is",
            pattern=r"[\w.:-]{1,128}",
            operator_only=True,
        ),
    )
    pending_states = frozenset({"pending", "in_progress"})
    confidence = "medium"
    unconfirmed = "the status of a submission that succeeds; the greatest seed"

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Withhold what the graph has no slot for."""
        return graphs.params_without_slot(lambda: _graph(call))

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Queue one run of the graph."""
        graph = _graph(call)
        seed = call.fields.get("seed", call.nonce % _SEEDS)
        values = graphs.slot_values(call.fields, seed=seed)
        batch = {"graph": graphs.fill(graph, values), "runs": 1}
        return ProviderRequest(
            "/queue/default/enqueue_batch", json={"prepend": False, "batch": batch}
        )

    def flow(self, call: ImageCall) -> Flow:
        """Queue, wait, and fetch the picture."""
        done = yield from self.submit_and_poll(call)
        name = _result(done, call.credentials[_NODE])
        images = yield from fetch_images(self, [f"/images/i/{name}/full"])
        return Answer(tuple(images))

    def poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest:
        """Ask for the item of the queue that the run became."""
        del call
        return ProviderRequest(_item(reply), method="GET")

    def cancel_request(self, call: ImageCall, submitted: ProviderReply) -> ProviderRequest:
        """Cancel the item."""
        del call
        return ProviderRequest(f"{_item(submitted)}/cancel", method="PUT")

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Say of a graph that was not taken whose mistake it is: the operator's."""
        if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return error_from_reply(reply, status=502)
        return super().provider_error(reply)


def _graph(call: ImageCall) -> Any:
    return graphs.select_graph(_GRAPH, call.credentials[_GRAPH], call.model, is_graph=_is_graph)


def _is_graph(tree: Any) -> bool:
    """Tell a graph, whose nodes are an object by id, from what the editor saves, and from several.

    >>> _is_graph({"nodes": {"a": {"type": "noise"}}, "edges": []}), _is_graph({"nodes": []})
    (True, False)
    """
    return (
        bool(dig_typed(tree, "nodes", kind=dict))
        and dig_typed(tree, "edges", kind=list) is not None
    )


def _item(reply: ProviderReply) -> str:
    """Give the path of the item of the queue that a run became."""
    item = dig_typed(reply.json(), "item_ids", 0, kind=int)
    if item is None:
        raise ProviderError("The provider took the graph without giving it an id.")
    return f"/queue/default/i/{item}"


def _result(reply: ProviderReply, node: str) -> str:
    """Name the picture that a run made, as a step of a path: that of `node`, else the last one."""
    tree = reply.json()
    if dig_str(tree, "status") != "completed":
        said = dig_str(tree, "error_message") or dig_str(tree, "status")
        raise error_from_reply(reply, message=said, status=502)
    results = dig_typed(tree, "session", "results", kind=dict) or {}
    # Results stand under the ids that the nodes got when they were prepared for this run.
    ids = dig_list(tree, "session", "source_prepared_mapping", node) if node else list(results)
    names = [dig_str(results.get(it), "image", "image_name") for it in ids if isinstance(it, str)]
    if found := [name for name in map(quote_segment, names) if name]:
        return found[-1]
    raise no_image_error(reply.status)


ADAPTER = InvokeAI()
