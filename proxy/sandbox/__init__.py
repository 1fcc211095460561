"""The sandbox provider: an OpenAI-shaped images server that draws its images itself, offline.

server      the web application, and `SandboxServer`, which runs it on a loopback port
request     parsing and validation of a request body
faults      faults that a client can request: latency, errors, cut responses
response    response bodies in OpenAI's shape: JSON or server-sent events
render      a thread pool that draws
draw        drawing; this and its neighbours `motifs` and `caption` need Pillow, and are imported
            with the first image
"""

from proxy.sandbox.server import SandboxServer

__all__ = ["SandboxServer"]
