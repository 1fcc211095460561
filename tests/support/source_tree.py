"""The parsed modules of the repository."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def sources(*packages: str) -> dict[Path, ast.Module]:
    """Return the parsed modules of some packages, by their paths from the root."""
    if len(packages) > 1:
        return {path: tree for package in packages for path, tree in sources(package).items()}
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return {path.relative_to(ROOT): ast.parse(path.read_bytes()) for path in paths}


def dotted(path: Path) -> str:
    """Return a module's dotted name."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@cache
def module_names() -> frozenset[str]:
    """Return the dotted names of all modules of packages and tests."""
    folders = ("adapters", "proxy", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return frozenset(dotted(path.relative_to(ROOT)) for path in paths)


@cache
def modules() -> dict[str, ast.Module]:
    """Return the parsed modules of packages and tests, by their dotted names."""
    return {dotted(path): tree for path, tree in sources("adapters", "proxy", "tests").items()}


def imported(tree: ast.AST, *, types: bool = True) -> Iterator[str]:
    """Yield the modules that a module imports, with those for the type checker if `types`."""
    for node in ast.iter_child_nodes(tree):
        if not types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in module_names() else node.module for name in inner)
        yield from imported(node, types=types)
