"""Takes out each defence of docs/security.md, one at a time, and sees that its tests notice.

    make mutations

Every defence is taken out of a copy of the tree, never out of the tree itself, and what is left
cannot leave the machine. Ends with 1 where a defence can be taken out unnoticed, or is no longer
where it was.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from tests.hostile.defence_mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parent.parent.parent
_COPIED = ("adapters", "config", "docs", "proxy", "requirements", "tests")
_SLOWEST = 120
_ROW = re.compile(
    r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| `([^`|]+)` \| ((?:`[^`|]+` ?)+)\|$", re.MULTILINE
)
_FAILED = 1


class Defence(NamedTuple):
    """A row of the table: `tests` are paths below `tests`, or tests in them."""

    attack: str
    name: str
    stops: str
    place: str
    tests: tuple[str, ...]


def defences() -> list[Defence]:
    """Read the table of docs/security.md."""
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    return [
        Defence(attack, name, stops, place, tuple(re.findall("`([^`]+)`", tests)))
        for attack, name, stops, place, tests in _ROW.findall(page)
    ]


@contextmanager
def copied() -> Iterator[Path]:
    """Copy what the tests need."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        for name in _COPIED:
            shutil.copytree(ROOT / name, tree / name, ignore=ignored)
        for path in ROOT.iterdir():
            if path.is_file() and not path.is_symlink():
                shutil.copy(path, tree / path.name)
        yield tree


class NotFoundError(Exception):
    """A mutation's place is not in its file, or is there more than once."""


class _Replace(ast.NodeTransformer):
    """Replaces the statement, expression or keyword argument that has the given code."""

    def __init__(self, code: str, replacement: str) -> None:
        [statement] = ast.parse(code).body
        expression = statement.value if isinstance(statement, ast.Expr) else statement
        self.code, self.replacement = ast.unparse(expression), replacement
        self.count = 0

    def visit(self, node: ast.AST) -> Any:
        if _code(node) != self.code:
            return self.generic_visit(node)
        self.count += 1
        statements = ast.parse(self.replacement).body
        if isinstance(node, ast.stmt):
            return statements
        if isinstance(node, ast.keyword):
            return ast.keyword(node.arg, cast("ast.Assign", statements[0]).value)
        return cast("ast.Expr", statements[0]).value


def _code(node: ast.AST) -> str:
    """Return the normalised code of a node; a keyword argument's as that of an assignment."""
    if isinstance(node, ast.keyword):
        return f"{node.arg} = {ast.unparse(node.value)}"
    return ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""


def _find_function(tree: ast.Module, name: str) -> Any:
    """Return the function with a qualified name, or the module for an empty one."""
    found: Any = tree
    for part in name.split(".") if name else ():
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        named = [it for it in ast.walk(found) if isinstance(it, kinds) and it.name == part]
        if not named:
            raise NotFoundError(f"no {name}")
        found = named[0]
    return found


def mutate(source: str, mutation: Mutation) -> str:
    """Return the source without the defence; raise NotFoundError if it is not in there once."""
    if not mutation.file.endswith(".py"):
        if source.count(mutation.code) != 1:
            raise NotFoundError(mutation.code)
        return source.replace(mutation.code, mutation.replacement)
    tree = ast.parse(source)
    function = _find_function(tree, mutation.function)
    if not mutation.code:
        function.body = ast.parse(mutation.replacement).body
        return ast.unparse(tree)
    replace = _Replace(mutation.code, mutation.replacement)
    replace.visit(function)
    if replace.count != 1:
        raise NotFoundError(f"{replace.count} times in {mutation.function}: {mutation.code}")
    return ast.unparse(ast.fix_missing_locations(tree))


@contextmanager
def without(tree: Path, mutation: Mutation) -> Iterator[None]:
    """Take a defence out of a tree, and put it back."""
    path = tree / mutation.file
    before = path.read_text(encoding="utf-8")
    path.write_text(mutate(before, mutation), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def noticed(tree: Path, tests: Sequence[str]) -> str:
    """Run tests in a tree; "" where none fails, else how the first one does."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "-p",
        "tests.support.no_network",
    ]
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ran = subprocess.run(  # noqa: S603 - our own tests
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=tree,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SLOWEST,
        )
    except subprocess.TimeoutExpired:
        return f"a test of {' '.join(tests)} does not end"
    failed = re.search(r"^FAILED [^:]+::(\w+)", ran.stdout, re.MULTILINE)
    if ran.returncode == _FAILED and failed:
        return failed[1]
    if ran.returncode:
        raise SystemExit(f"The tests {tests} cannot be run:\n{ran.stdout[-2000:]}{ran.stderr}")
    return ""


def main(only: Sequence[str]) -> int:
    """Take out every defence, or those whose names hold one of some words; 1 if one is missed."""
    tried = missed = 0
    rows = {row.name: row for row in defences()}
    with copied() as tree:
        for mutation in MUTATIONS:
            if only and not any(word in mutation.defence for word in only):
                continue
            row, began = rows[mutation.defence], time.monotonic()
            try:
                with without(tree, mutation):
                    by = noticed(tree, row.tests)
                told = by or "UNNOTICED"
            except NotFoundError as error:
                by, told = "", f"NOT FOUND in {mutation.file}: {error}"
            tried, missed = tried + 1, missed + (not by)
            sys.stdout.write(
                f"{row.attack:<20}  {row.name:<72.72}  {time.monotonic() - began:4.1f}s  {told}\n"
            )
            sys.stdout.flush()
    sys.stdout.write(f"{missed} of {tried} defences can be taken out unnoticed.\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
