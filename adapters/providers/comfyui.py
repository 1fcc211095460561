"""ComfyUI: a graph of the operator's, with slots for the client's parameters.

    POST {base}/prompt              a graph in API format -> {"prompt_id"}
    GET  {base}/history/{id}        {} while the job is queued or running
    GET  {base}/view?filename=…     an image, as bytes
    POST {base}/api/jobs/cancel     cancels jobs

The answer has the images of `SaveImage` nodes, or those of `PreviewImage` nodes if none are saved.
The slots are prompt, negative_prompt, seed, width, height and n. A graph without a slot for n runs
once per image; a graph without a slot for seed generates the same image each time.

>>> from adapters.contract import Credentials, ImageCall
>>> graph = '{"6": {"class_type": "CLIPTextEncode", "inputs": {"text": "{{prompt}}, oil"}}}'
>>> made = ADAPTER.table_for("").translate({"prompt": "a cube"}).fields
>>> call = ImageCall({}, made, Credentials("", {"comfyui_workflow": graph}))
>>> next(ADAPTER.flow(call)).json
{'prompt': {'6': {'class_type': 'CLIPTextEncode', 'inputs': {'text': 'a cube, oil'}}}}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
_FILE_INPUTS = ("ckpt_name", "unet_name", "vae_name", "clip_name", "lora_name")
# Inputs with values of the client's: an error in one of them is the client's.
_CLIENT_INPUTS = ("width", "height", "batch_size", "seed", "noise_seed", "text")

_TABLE = Table(
    (
        *graphs.ROWS,
        Param("n", high=10),
        Param("seed", kind=int, low=0, high=_SEEDS - 1),
        Param("workflow", kind=dict, note=f"a graph in API format, if {_ALLOW} is true"),
    ),
    closed=True,
)


class ComfyUI(Adapter):
    """A self-hosted ComfyUI server, which runs the operator's graphs only."""

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
            "a graph in API format (JSON) with slots such as {{prompt}}, or an object of graphs by "
            "model",
            pattern=r"(?s)\s*\{.*\}\s*",
            operator_only=True,
        ),
        Option(
            _ALLOW,
            "true: clients may send their own graphs in the parameter workflow",
            pattern="true|false",
            operator_only=True,
        ),
    )
    unconfirmed = "the format of `details` in a node's error; the final state of a cancelled job"

    def flow(self, call: ImageCall) -> Flow:
        """Queue all runs, then poll each and download its images."""
        jobs: dict[str, dict[str, int]] = {}
        try:
            return (yield from self._run(call, jobs))
        except FlowCancelled:
            if jobs:
                # By id, because `/interrupt` would cancel any job. Servers older than mid-2026 do
                # not have this path and finish the jobs.
                yield ProviderRequest("/api/jobs/cancel", json={"job_ids": [*jobs]})
            raise

    def _run(self, call: ImageCall, jobs: dict[str, dict[str, int]]) -> Flow:
        """Run the graphs. `jobs` maps unfinished jobs' ids to the `extra` of their images."""
        for graph, extra in self._runs(call):
            reply = yield ProviderRequest("/prompt", json={"prompt": graph})
            if not reply.ok:
                raise self._submission_error(call, reply)
            if not quote_segment(job := dig_str(reply.json(), "prompt_id")):
                raise ProviderError("The provider accepted the graph but returned no id.")
            jobs[job] = extra
        images: list[Image] = []
        for job, extra in [*jobs.items()]:
            request = ProviderRequest(f"/history/{quote_segment(job)}", method="GET")
            reply = yield from poll(self, request, _has_record(job), interval=1.0)
            del jobs[job]
            images += yield from fetch_images(self, _image_paths(reply, job), **extra)
        return Answer(tuple(images))

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Return the parameters that the graph has no slot for."""
        return graphs.params_without_slot(lambda: self._graph(call))

    def _runs(self, call: ImageCall) -> Iterator[tuple[Any, dict[str, int]]]:
        """Yield each graph to run, with the `extra` of its images."""
        graph, n = self._graph(call), call.fields.get("n", 1)
        slots = set(graphs.find_slots(graph))
        for run in range(1 if "n" in slots else n):
            seed = (call.fields.get("seed", call.nonce) + run) % _SEEDS
            values = graphs.slot_values(call.fields, n=n, seed=seed)
            yield graphs.fill(graph, values), {"seed": seed} if "seed" in slots else {}

    def _graph(self, call: ImageCall) -> Any:
        """Return the operator's graph, or the client's own if that is allowed."""
        if (own := call.fields.get("workflow")) is not None:
            if call.credentials[_ALLOW] != "true":
                raise BadParam(
                    "workflow",
                    "'workflow' is not allowed: the operator has not enabled clients' own graphs.",
                )
            if not _is_graph(own):
                raise BadParam("workflow", "'workflow' must be a graph in API format.")
            return own
        stored = call.credentials[_WORKFLOW]
        return graphs.select_graph(_WORKFLOW, stored, call.model, is_graph=_is_graph)

    def _submission_error(self, call: ImageCall, reply: ProviderReply) -> ProviderError:
        """Return the error for a rejected graph, from the first invalid node.

        It is a configuration error (502) unless the invalid input comes from the client.
        """
        tree = reply.json()
        nodes = (dig_typed(tree, "node_errors", kind=dict) or {}).values()
        error = next((it for node in nodes for it in dig_list(node, "errors")), None)
        field = dig_str(error, "details").partition(":")[0]
        parts = [self.error_message(reply), dig_str(error, "message"), dig_str(error, "details")]
        message = ": ".join(dict.fromkeys(filter(None, parts)))
        is_validation_error = dig(tree, "error", "type") is not None
        if field in _FILE_INPUTS:
            return error_from_reply(reply, message=message, status=404)
        if is_validation_error and field not in _CLIENT_INPUTS and not call.fields.get("workflow"):
            return error_from_reply(reply, message=message, status=502)
        return error_from_reply(reply, message=message)


def _is_graph(tree: Any) -> bool:
    """Whether JSON is one graph in API format, not an editor's file or several graphs."""
    nodes = tree.values() if isinstance(tree, dict) else ()
    return bool(nodes) and all(dig_str(node, "class_type") for node in nodes)


def _has_record(job: str) -> Callable[[ProviderReply], bool]:
    """Return whether a reply is the job's history, which is `{}` until it has finished."""
    return lambda reply: reply.ok and dig_typed(reply.json(), job, kind=dict) is not None


def _image_paths(reply: ProviderReply, job: str) -> list[str]:
    """Return the URL paths of a job's saved images, or else of its previews."""
    record = dig(reply.json(), job)
    if dig_str(record, "status", "status_str") == "error":
        raise _failed(reply, dig_list(record, "status", "messages"))
    nodes = (dig_typed(record, "outputs", kind=dict) or {}).values()
    files = [file for node in nodes for file in dig_list(node, "images")]
    saved = [file for file in files if dig_str(file, "type") == "output"] or files
    queries = [
        {key: dig_str(file, key) for key in ("filename", "subfolder", "type")} for file in saved
    ]
    if not queries:
        raise no_image_error(reply.status)
    return [f"/view?{urlencode(query)}" for query in queries]


def _failed(reply: ProviderReply, messages: list[Any]) -> ProviderError:
    """Return the error of a failed job, with the message of the node that failed."""
    errors = [dig(it, 1) for it in messages if dig(it, 0) == "execution_error"]
    message = dig_str(errors, 0, "exception_message")
    is_out_of_memory = "OutOfMemory" in dig_str(errors, 0, "exception_type")
    return error_from_reply(reply, message=message, status=503 if is_out_of_memory else 502)


ADAPTER = ComfyUI()
