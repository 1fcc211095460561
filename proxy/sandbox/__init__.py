"""The studio: an OpenAI-shaped images server that draws its pictures itself, offline.

server      the web application, and `Studio`, which runs it on a loopback port
order       what can be asked for: the body of a call, read and checked whole
script      behaviour that a caller may ask for: waiting, failing, cutting the answer
answers     the answers' bytes in OpenAI's shape: one body, or events
painters    threads that draw, beside the event loop
drawing     the pictures; it and its neighbours `motifs` and `caption` need Pillow, and are
            imported with the first picture
"""

from proxy.sandbox.server import SandboxServer

__all__ = ["SandboxServer"]
