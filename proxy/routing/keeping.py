"""Trees of targets that were resolved before: most requests lead where others led.

The law: nothing of one client's is kept, neither a credential nor a header that is forwarded.
"""

from __future__ import annotations

from cachetools import LRUCache

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
    """The trees of one gateway's settings, the longest unused given up first."""

    def __init__(self) -> None:
        self._kept: LRUCache[Name, Node] = LRUCache(_MOST_TARGETS, getsizeof=_size)

    def found(self, scope: str, asked: Asked) -> Node | None:
        """Give the tree that a request leads to, if one like it led there before."""
        try:
            return self._kept[_name(scope, asked)]
        except KeyError:
            return None

    def keep(self, root: Node, config: Config, scope: str, asked: Asked) -> None:
        """Keep what a request's config was resolved to, if that is anybody's."""
        name = _name(scope, asked)
        if name and sum(map(len, name)) <= _LONGEST_NAME and _is_anybodys(config, asked):
            self._kept[name] = root


def _name(scope: str, asked: Asked) -> Name:
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


def _is_anybodys(config: Config, asked: Asked) -> bool:
    """Tell whether a config has neither a credential of its sender's nor names of headers."""
    return not any(
        it.forward_headers or (not asked.saved and (it.api_key or it.options))
        for it in config.leaves
    )


def _size(node: Node) -> int:
    return 1 if isinstance(node, Target) else sum(map(_size, node.nodes))
