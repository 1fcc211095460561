"""A gateway whose name servers are scripted: some names get no answer, others are this machine.

Everything else is the gateway's real entry point.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from proxy.cli.main import main
from proxy.upstream.name_lookup import NameLookup

SLOW, LOCAL = ".slow.example", ".local.example"
_SECONDS = 30


def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
    """Resolve a name; block for names that end with `SLOW`."""
    if host.endswith(SLOW):
        time.sleep(_SECONDS)
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answered")
    return socket.getaddrinfo("127.0.0.1" if host.endswith(LOCAL) else host, port, **options)


if __name__ == "__main__":
    NameLookup.default_getaddrinfo = staticmethod(getaddrinfo)
    main()
