"""ComfyUI: a graph of the operator's, with slots for what the client asks for.

    POST {base}/prompt              a graph in API format -> {"prompt_id"}
    GET  {base}/history/{id}        {} while it waits or runs
    GET  {base}/view?filename=…     each picture, as bytes
    POST {base}/api/jobs/cancel     what nobody waits for any more

Pictures of `SaveImage` nodes are the answer; those of `PreviewImage` only where nothing is saved.
The slots are prompt, negative_prompt, seed, width, height and n. A graph without a slot for n is
run as often as there are pictures to make, a graph without one for seed makes the same again.

>>> from adapters.contract import Credentials, ImageCall
>>> graph = '{"6": {"class_type": "CLIPTextEncode", "inputs": {"text": "{{prompt}}, oil"}}}'
>>> made = ADAPTER.table_for("").translate({"prompt": "a cube"}).fields
>>> call = ImageCall({}, made, Credentials("", {"comfyui_workflow": graph}))
>>> next(ADAPTER.flow(call)).json
{'prompt': {'6': {'class_type': 'CLIPTextEncode', 'inputs': {'text': 'a cube, oil'}}}}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import urlencode

from adapters.bases.polling import fetch_images, poll
from adapters.contract import Adapter, Answer, Flow, Image, ImageCall, Option
from adapters.errors import BadParam, FlowCancelled, ProviderError, error_from_reply, no_image_error
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import graphs
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed
from adapters.tools.url_paths import quote_segment

_WORKFLOW, _ALLOW = "comfyui_workflow", "comfyui_allow_graphs"
_SEEDS = 2**64
_FILES = ("ckpt_name", "unet_name", "vae_name", "clip_name", "lora_name")
# Inputs whose value is the client's, so that a complaint about one is for the client.
_ASKED = ("width", "height", "batch_size", "seed", "noise_seed", "text")

_TABLE = Table(
    (
        *graphs.ROWS,
        Param("n", high=10),
        Param("seed", kind=int, low=0, high=_SEEDS - 1),
        Param("workflow", kind=dict, note=f"a graph in API format, where {_ALLOW} is true"),
    ),
    closed=True,
)


class ComfyUI(Adapter):
    """A ComfyUI server of one's own, which runs the operator's graphs and no others."""

    id = "comfyui"
    name = "ComfyUI"
    base_url = "http://127.0.0.1:8188"
    docs = "https://docs.comfy.org/development/comfyui-server/comms_routes"
    tables_by_model = (("", _TABLE),)
    models = (graphs.DEFAULT_MODEL,)
    keyless = True
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            _WORKFLOW,
            "a graph in API format (JSON) with slots such as {{prompt}}, or an object of several",
            pattern=r"(?s)\s*\{.*\}\s*",
            operator_only=True,
        ),
        Option(
            _ALLOW,
            "true, for clients that may run graphs of their own, by the parameter workflow",
            pattern="true|false",
            operator_only=True,
        ),
    )
    unconfirmed = "the form of `details` in a node's error; how a cancelled job ends"

    def flow(self, call: ImageCall) -> Flow:
        """Queue every run, then wait for each and fetch its pictures."""
        jobs: dict[str, dict[str, int]] = {}
        try:
            return (yield from self._ran(call, jobs))
        except FlowCancelled:
            if jobs:
                # By their ids: `/interrupt` would end whatever runs. Servers of before the middle
                # of 2026 do not know this path, and finish.
                yield ProviderRequest("/api/jobs/cancel", json={"job_ids": [*jobs]})
            raise

    def _ran(self, call: ImageCall, jobs: dict[str, dict[str, int]]) -> Flow:
        """Run the graphs; `jobs` holds those that are not done, and what is to be said of each."""
        for graph, extra in self._runs(call):
            reply = yield ProviderRequest("/prompt", json={"prompt": graph})
            if not reply.ok:
                raise self._not_taken(call, reply)
            if not quote_segment(job := dig_str(reply.json(), "prompt_id")):
                raise ProviderError("The provider took the graph without giving it an id.")
            jobs[job] = extra
        images: list[Image] = []
        for job, extra in [*jobs.items()]:
            question = ProviderRequest(f"/history/{quote_segment(job)}", method="GET")
            reply = yield from poll(self, question, _is_settled, interval=1.0)
            del jobs[job]
            images += yield from fetch_images(self, _places(reply, job), **extra)
        return Answer(tuple(images))

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Withhold what the graph has no slot for."""
        return graphs.params_without_slot(lambda: self._graph(call))

    def _runs(self, call: ImageCall) -> Iterator[tuple[Any, dict[str, int]]]:
        """Give each graph to run, with what is to be said of its pictures."""
        graph, n = self._graph(call), call.fields.get("n", 1)
        slots = set(graphs.find_slots(graph))
        for run in range(1 if "n" in slots else n):
            seed = (call.fields.get("seed", call.nonce) + run) % _SEEDS
            values = graphs.slot_values(call.fields, n=n, seed=seed)
            yield graphs.fill(graph, values), {"seed": seed} if "seed" in slots else {}

    def _graph(self, call: ImageCall) -> Any:
        """Choose the graph: the operator's, or the client's own where that is allowed."""
        if (own := call.fields.get("workflow")) is not None:
            if call.credentials[_ALLOW] != "true":
                raise BadParam(
                    "workflow", "'workflow' is not taken: the operator runs no graphs of clients."
                )
            if not _is_graph(own):
                raise BadParam("workflow", "'workflow' must be a graph in API format.")
            return own
        stored = call.credentials[_WORKFLOW]
        return graphs.select_graph(_WORKFLOW, stored, call.model, is_graph=_is_graph)

    def _not_taken(self, call: ImageCall, reply: ProviderReply) -> ProviderError:
        """Say whose mistake a graph is: its author's, but for what the client asked.

        The first node that is complained of counts.
        """
        tree = reply.json()
        nodes = (dig_typed(tree, "node_errors", kind=dict) or {}).values()
        fault = next((it for node in nodes for it in dig_list(node, "errors")), None)
        field = dig_str(fault, "details").partition(":")[0]
        said = [self.error_message(reply), dig_str(fault, "message"), dig_str(fault, "details")]
        message = ": ".join(dict.fromkeys(filter(None, said)))
        is_complaint = dig(tree, "error", "type") is not None
        if field in _FILES:
            return error_from_reply(reply, message=message, status=404)
        if is_complaint and field not in _ASKED and not call.fields.get("workflow"):
            return error_from_reply(reply, message=message, status=502)
        return error_from_reply(reply, message=message)


def _is_graph(tree: Any) -> bool:
    """Tell a graph in API format from one as the editor saves it, and from several."""
    nodes = tree.values() if isinstance(tree, dict) else ()
    return bool(nodes) and all(dig_str(node, "class_type") for node in nodes)


def _is_settled(reply: ProviderReply) -> bool:
    """Tell whether a job is in the history: `{}` says that it is not done yet."""
    return reply.ok and bool(dig_typed(reply.json(), kind=dict))


def _places(reply: ProviderReply, job: str) -> list[str]:
    """Give the paths of the pictures that a job saved, or those of its previews."""
    done = dig(reply.json(), job)
    if dig_str(done, "status", "status_str") == "error":
        raise _failed(reply, dig_list(done, "status", "messages"))
    nodes = (dig_typed(done, "outputs", kind=dict) or {}).values()
    files = [file for node in nodes for file in dig_list(node, "images")]
    saved = [file for file in files if dig_str(file, "type") == "output"] or files
    named = [
        {key: dig_str(file, key) for key in ("filename", "subfolder", "type")} for file in saved
    ]
    if not named:
        raise no_image_error(reply.status)
    return [f"/view?{urlencode(query)}" for query in named]


def _failed(reply: ProviderReply, messages: list[Any]) -> ProviderError:
    """Say why a job failed, in the words of the node that did."""
    told = [dig(it, 1) for it in messages if dig(it, 0) == "execution_error"]
    said = dig_str(told, 0, "exception_message")
    full = "OutOfMemory" in dig_str(told, 0, "exception_type")
    return error_from_reply(reply, message=said, status=503 if full else 502)


ADAPTER = ComfyUI()
