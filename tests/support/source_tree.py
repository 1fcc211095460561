"""The parsed modules of the repository."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def sources(*packages: str) -> dict[Path, ast.Module]:
    """Parse every module of some packages, by its path from the root."""
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return {path.relative_to(ROOT): ast.parse(path.read_bytes()) for path in paths}


ADAPTERS, PROXY, TESTS = sources("adapters"), sources("proxy"), sources("tests")
EVERYTHING = {**ADAPTERS, **PROXY, **TESTS}


def dotted(path: Path) -> str:
    """Return a module's dotted name."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path): tree for path, tree in EVERYTHING.items()}


def imported(tree: ast.AST, *, types: bool = True) -> Iterator[str]:
    """Yield the modules that a module imports, with those for the type checker if `types`."""
    for node in ast.iter_child_nodes(tree):
        if not types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inner)
        yield from imported(node, types=types)
