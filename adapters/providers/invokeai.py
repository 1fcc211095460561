"""InvokeAI: a graph of the operator's, with slots for the client's parameters.

    POST {base}/queue/default/enqueue_batch      a graph -> {"item_ids"}
    GET  {base}/queue/default/i/{id}             polling
    GET  {base}/images/i/{name}/full             the image, as bytes

The slots are prompt, negative_prompt, seed, width and height. A workflow file of the editor is not
a graph and is refused. A graph without a slot for seed generates the same image each time.

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
    """A self-hosted InvokeAI server, which needs a key in its multi-user mode only."""

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
            "a graph (nodes, edges; JSON) with slots such as {{prompt}}, or an object of graphs by "
            "model",
            pattern=r"(?s)\s*\{.*\}\s*",
            operator_only=True,
        ),
        Option(
            _NODE,
            "the graph's node whose image is the result; by default the last image",
            pattern=r"[\w.:-]{1,128}",
            operator_only=True,
        ),
    )
    success_state, failed_states = "completed", frozenset({"failed", "canceled"})
    confidence = "medium"
    unconfirmed = "the status of a successful submission; the maximum seed"

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Return the parameters that the graph has no slot for."""
        return graphs.params_without_slot(lambda: _graph(call))

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request that queues one run of the graph."""
        graph = _graph(call)
        seed = call.fields.get("seed", call.nonce % _SEEDS)
        values = graphs.slot_values(call.fields, seed=seed)
        batch = {"graph": graphs.fill(graph, values), "runs": 1}
        return ProviderRequest(
            "/queue/default/enqueue_batch", json={"prepend": False, "batch": batch}
        )

    def flow(self, call: ImageCall) -> Flow:
        """Queue a run, poll it, and download the image."""
        reply = yield from self.submit_and_poll(call)
        name = _image_name(reply, call.credentials[_NODE])
        images = yield from fetch_images(self, [f"/images/i/{name}/full"])
        return Answer(tuple(images))

    def build_poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest:
        """Return the poll of the queue item."""
        del call
        return ProviderRequest(_item_path(reply), method="GET")

    def build_cancel_request(self, call: ImageCall, submitted: ProviderReply) -> ProviderRequest:
        """Return the cancellation of the queue item."""
        del call
        return ProviderRequest(f"{_item_path(submitted)}/cancel", method="PUT")

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Return a 502 for a rejected graph, which is a configuration error."""
        if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return error_from_reply(reply, status=502)
        return super().provider_error(reply)


def _graph(call: ImageCall) -> Any:
    return graphs.select_graph(_GRAPH, call.credentials[_GRAPH], call.model, is_graph=_is_graph)


def _is_graph(tree: Any) -> bool:
    """Whether JSON is one graph (nodes by id), not an editor's file or several graphs.

    >>> _is_graph({"nodes": {"a": {"type": "noise"}}, "edges": []}), _is_graph({"nodes": []})
    (True, False)
    """
    return (
        bool(dig_typed(tree, "nodes", kind=dict))
        and dig_typed(tree, "edges", kind=list) is not None
    )


def _item_path(reply: ProviderReply) -> str:
    """Return the URL path of the queue item of a submission."""
    item = dig_typed(reply.json(), "item_ids", 0, kind=int)
    if item is None:
        raise ProviderError("The provider accepted the graph but returned no id.")
    return f"/queue/default/i/{item}"


def _image_name(reply: ProviderReply, node: str) -> str:
    """Return the image's name as a path segment: the image of `node`, else the last one."""
    tree = reply.json()
    if dig_str(tree, "status") != "completed":
        message = dig_str(tree, "error_message") or dig_str(tree, "status")
        raise error_from_reply(reply, message=message, status=502)
    results = dig_typed(tree, "session", "results", kind=dict) or {}
    # Results have other node ids than the graph; the mapping contains both.
    ids = dig_list(tree, "session", "source_prepared_mapping", node) if node else list(results)
    names = [dig_str(results.get(it), "image", "image_name") for it in ids if isinstance(it, str)]
    if found := [name for name in map(quote_segment, names) if name]:
        return found[-1]
    raise no_image_error(reply.status)


ADAPTER = InvokeAI()
