"""The sandbox: pictures without a provider, drawn by the gateway itself. See docs/sandbox.md.

It speaks OpenAI's shape and takes every parameter, with a few more that script its behaviour.

>>> from adapters.contract import ImageCall
>>> body = {"model": "sandbox-1", "prompt": "a cube", "latency_ms": 250}
>>> ADAPTER.request(ImageCall(body, body)).content
b'{"model":"sandbox-1","prompt":"a cube","latency_ms":250}'
>>> ADAPTER.base_url, ADAPTER.keyless
('in-process:', True)
"""

from __future__ import annotations

from adapters.contract import IN_PROCESS
from adapters.openai_shape import OpenAIShape


class Sandbox(OpenAIShape):
    """The provider that is always there: offline, free, and the same every time."""

    id = "sandbox"
    name = "Sandbox"
    base_url = IN_PROCESS
    docs = "https://platform.openai.com/docs/api-reference/images/create"
    models = ("sandbox-1",)
    keyless = True


ADAPTER = Sandbox()
