"""The sandbox: images without a provider, drawn by the gateway itself. See docs/sandbox.md.

It accepts every OpenAI parameter, and further ones that script its behaviour.

>>> from adapters.contract import ImageCall
>>> body = {"model": "sandbox-1", "prompt": "a cube", "latency_ms": 250}
>>> ADAPTER.build_request(ImageCall(body, body)).content
b'{"model":"sandbox-1","prompt":"a cube","latency_ms":250}'
>>> ADAPTER.base_url, ADAPTER.keyless
('in-process:', True)
"""

from __future__ import annotations

from adapters.bases.openai_passthrough import OpenAIPassthrough
from adapters.contract import IN_PROCESS, ImageCall
from adapters.table.param import STANDARD_PARAMS, Param
from adapters.table.table import Table
from adapters.tools import sizes

_LESS = (
    Param("size", convert=sizes.pixels(low=16, high=3840, max_pixels=8_294_400, combined="size")),
    Param("output_format", choices=("png", "jpeg", "webp")),
)
_SCRIPT = (
    Param("latency_ms", kind=int, low=0, high=600_000, note="delay of the response"),
    Param("status", kind=int, low=400, high=599, note="fail with this status"),
    Param("refuse", kind=bool, note="a refusal by the safety system"),
    Param("cut_after", kind=int, low=0, note="close the connection after this many bytes"),
)
_OPENAI_ROWS = {row.name: row for row in (*STANDARD_PARAMS.values(), *_LESS)}
_IGNORED = ("model", "complexity", "safety_identifier")


class Sandbox(OpenAIPassthrough):
    """The built-in provider: offline, free and deterministic."""

    id = "sandbox"
    name = "Sandbox"
    base_url = IN_PROCESS
    docs = "https://platform.openai.com/docs/api-reference/images/create"
    tables_by_model = (
        (
            "",
            Table((*(row for name, row in _OPENAI_ROWS.items() if name not in _IGNORED), *_SCRIPT)),
        ),
    )
    models = ("sandbox-1",)
    keyless = True

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Suppress `response_format`, because the sandbox has no host for URLs."""
        del call
        return frozenset({"response_format"})


ADAPTER = Sandbox()
