"""Trees of targets that were resolved before: most requests lead where others led.

The law: nothing of one client's is kept, neither a credential nor a header that is forwarded.
"""

from __future__ import annotations

from collections import OrderedDict

from proxy.configs import Config
from proxy.plan import Node, Target
from proxy.routing.targets import Asked, slug_of

_MOST_TARGETS = 16_384
_LONGEST_NAME = 1024
"""A header may say what is of no use, at any length."""
_HEADERS = ("x-portkey-virtual-key", "x-portkey-request-timeout", "x-easel-unsupported")
"""Those that have a part in a tree, beside the provider."""

Name = tuple[str, ...]


class Trees:
    """The trees of one gateway's settings, of `most` targets in all: the longest unused goes first.

    An OrderedDict keeps them since it runs in C, which cachetools does not.
    """

    def __init__(self, most: int = _MOST_TARGETS) -> None:
        self._most = most
        self._kept: OrderedDict[Name, Node] = OrderedDict()
        self._targets = 0

    def found(self, name: Name) -> Node | None:
        """Give the tree of a name, if it is kept."""
        root = self._kept.get(name)
        if root is not None:
            self._kept.move_to_end(name)
        return root

    def keep(self, name: Name, root: Node) -> None:
        """Keep a tree by its name."""
        self._kept[name] = root
        self._targets += _size(root)
        while self._targets > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._targets -= _size(oldest)


def name_of(scope: str, asked: Asked) -> Name:
    """Name all that a tree is made of, beside the settings; () where a part is the client's own."""
    headers = asked.headers
    provider = headers.get("x-portkey-provider", "").strip()
    # A provider that is no virtual key is given the client's credential.
    if provider and not provider.startswith("@"):
        return ()
    if "x-portkey-forward-headers" in headers or "x-portkey-custom-host" in headers:
        return ()
    told = [headers.get(name, "").strip() for name in _HEADERS]
    return (scope, provider, slug_of(asked.params.get("model")), *told)


def is_anybodys(name: Name, config: Config, asked: Asked) -> bool:
    """Tell whether a config has neither a credential of its sender's nor names of headers."""
    if not name or sum(map(len, name)) > _LONGEST_NAME:
        return False
    return not any(
        it.forward_headers or (not asked.saved and (it.api_key or it.options))
        for it in config.leaves
    )


def _size(node: Node) -> int:
    return 1 if isinstance(node, Target) else sum(map(_size, node.nodes))
