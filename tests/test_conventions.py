"""Holds the house up: which way imports point, who may name a provider, where tests stand."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from adapters import ALIASES, PROVIDERS, adapter

ROOT = Path(__file__).parent.parent

LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {"errors", "yaml_source", "access_log", "log_file", "following", "state_folder", "hints"}
        | {"core_dumps", "connections", "redis_address", "tls"}
    ),
    frozenset({"local_key"}),
    frozenset({"bodies", "conditions", "policies"}),
    frozenset({"configs", "redis_servers"}),
    frozenset({"config_text"}),
    frozenset({"credentials", "sections", "prices"}),
    frozenset({"settings", "incoming", "own_names", "patience", "redis_client"}),
    frozenset({"shared", "sockets"}),
    frozenset({"listening"}),
    frozenset({"plan", "command_line"}),
    frozenset({"logs"}),
    frozenset({"tracing"}),
    frozenset({"keys"}),
    frozenset({"forwarded"}),
    frozenset({"metrics"}),
    frozenset({"blobs", "routing", "studio"}),
    frozenset({"cache", "jobs", "reloading"}),
    frozenset({"upstream"}),
    frozenset({"images"}),
    frozenset({"middlewares"}),
    frozenset({"endpoints", "explain", "health", "scraping"}),
    frozenset({"together"}),
    frozenset({"app"}),
    frozenset({"serving"}),
    frozenset({"workers"}),
    frozenset({"serve"}),
    frozenset({"__main__"}),
)
"""The modules and packages of `proxy`, lowest first: each imports only what lies below it."""

SUITES = {
    "tests/proxy/cache/test_common_index.py": "the cache's index, where several processes have it",
    "tests/contract/test_contract.py": "what every adapter promises, generated",
    "tests/proxy/pipeline/test_completing.py": "pictures of several targets in one answer",
    "tests/contract/test_tables.py": "every table, from the client's word to the wire",
    "tests/system/test_behind_nginx.py": "a real reverse proxy with less patience than a job takes",
    "tests/deploy/test_balancers.py": "deploy/'s nginx and HAProxy in front of real gateways",
    "tests/deploy/test_compose.py": "the compose file and its settings against the specification",
    "tests/deploy/test_helm.py": "the chart through Helm, against Kubernetes' schemas",
    "tests/deploy/test_image.py": "the Dockerfile, and that what it copies is a whole gateway",
    "tests/deploy/test_restarts.py": "nodes that restart behind the two load balancers of deploy/",
    "tests/deploy/test_sidecar.py": "the sidecar's manifests against Kubernetes' schemas",
    "tests/deploy/test_systemd.py": "the unit through systemd, a gateway under its hardest line",
    "tests/deploy/test_watching.py": "alerts and dashboard through promtool, against the metrics",
    "tests/deploy/test_wheel.py": "the built wheel, installed and used outside the repository",
    "tests/faults/test_matrix.py": "what providers do wrong, in every kind of conversation",
    "tests/proxy/jobs/test_interleavings.py": "jobs, tapes and the shelf under any order of events",
    "tests/system/test_listeners.py": "the gateway as a process, by its unix socket and by TLS",
    "tests/system/test_rolling_restart.py": "restarts behind a real nginx under load",
    "tests/contract/test_matrix.py": "every provider in every form, through OpenAI's own SDK",
    "tests/contract/test_official_sdks.py": "what we ask of providers against what their own SDKs ask",
    "tests/contract/test_replay.py": "every transcript through the running gateway",
    "tests/system/test_sdk_clients.py": "the official SDKs against the running gateway",
    "tests/system/test_sdk_retries.py": "what the official SDKs' own retries cost",
}
"""Test modules that are about more than one module."""

HOSTILE = Path("tests/hostile")
"""Test modules that are about one attack each; docs/security.md names every one."""

UNTESTED = {
    "adapters/__init__.py": "the list of providers: held up by the contract suite",
}
"""Modules with code and without a test module of their own, and why."""

DOORS = {
    *("asyncio", "http.client", "os", "pathlib", "random", "secrets", "socket", "ssl"),
    *("subprocess", "tempfile", "threading", "time", "urllib.request"),
}
"""Modules by which an adapter would reach out of a call and its replies."""

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core"}

WIRE = "openai"
"""The client's own wire is named after a provider: texts for readers may say so."""
SHAPE = "openai_shaped"
"""The contract's word for an adapter that speaks that wire."""
NAMESAKES = (
    "metadata.google.internal",
    "x-google-metadata-request",
    "google.auth",
    "sandbox; default-src 'none'",
)
"""A host, a header, a library and a word of browsers that share a provider's name."""


def sources(*packages: str) -> dict[Path, ast.Module]:
    """Parse every module of some packages, by its path from the root."""
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return {path.relative_to(ROOT): ast.parse(path.read_bytes()) for path in paths}


ADAPTERS, PROXY, TESTS = sources("adapters"), sources("proxy"), sources("tests")
EVERYTHING = {**ADAPTERS, **PROXY, **TESTS}


def dotted(path: Path) -> str:
    """Give a module's dotted name."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path): tree for path, tree in EVERYTHING.items()}


def imported(tree: ast.AST) -> Iterator[str]:
    """Name what a module imports when it runs; imports for the type checker only do not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inner)
        yield from imported(node)


def layer(name: str) -> int:
    """Give the layer of a module of `proxy`; the package itself is the lowest."""
    parts = name.split(".")
    return next((at for at, layer in enumerate(LAYERS) if parts[1:2] and parts[1] in layer), -1)


def test_adapters_are_pure() -> None:
    allowed = {*sys.stdlib_module_names, "orjson", "adapters"}
    for path, tree in ADAPTERS.items():
        assert {name.partition(".")[0] for name in imported(tree)} <= allowed, path


def test_adapters_open_nothing() -> None:
    for path, tree in ADAPTERS.items():
        assert not DOORS & set(imported(tree)), path


def test_every_module_of_the_proxy_has_its_layer() -> None:
    known = {name for layer in LAYERS for name in layer} | {"__init__"}
    assert {path.with_suffix("").parts[1] for path in PROXY} <= known


@pytest.mark.parametrize("path", PROXY, ids=str)
def test_imports_point_one_way(path: Path) -> None:
    here = dotted(path)
    for name in imported(PROXY[path]):
        if name.startswith("proxy.") and name.split(".")[1] != here.split(".")[1]:
            assert layer(name) < layer(here), f"{here} may not import {name}"


def test_no_modules_import_each_other() -> None:
    graph = {name: {it for it in imported(tree) if it in MODULES} for name, tree in MODULES.items()}
    assert list(TopologicalSorter(graph).static_order())


READS_LATE = re.compile(r"request\.app\[SETTINGS\]")


def test_a_request_reads_the_settings_that_it_began_with() -> None:
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in PROXY}
    assert [str(path) for path, text in texts.items() if READS_LATE.search(text)] == []


def _names_of_providers() -> list[str]:
    """Give every id, alias and name of a provider."""
    written = [name for name in PROVIDERS if (ROOT / _module_of(name)).exists()]
    return [*PROVIDERS, *ALIASES, *(adapter(name).name for name in written)]


def _module_of(provider: str) -> str:
    return f"adapters/{provider.replace('-', '_')}.py"


def _pattern(names: list[str]) -> re.Pattern[str]:
    """Match any of the names as words, however their parts are joined."""
    spelled = (r"[-_ ]?".join(map(re.escape, re.split(r"[-_ ]", name.lower()))) for name in names)
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(sorted(spelled))})(?![a-z0-9])")


def _docstrings(tree: ast.Module) -> set[int]:
    """Tell the strings that stand alone, which are for readers, by identity."""
    alone = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(value) for value in alone if isinstance(value, ast.Constant)}


def _words(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Give every identifier and string of a module, and whether it is only for readers."""
    readable = _docstrings(tree)
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, str):
                snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", value).lower()
                for other in (SHAPE, *NAMESAKES):
                    snake = snake.replace(other, "")
                yield snake, id(node) in readable


@pytest.mark.parametrize("path", PROXY, ids=str)
def test_the_proxy_knows_no_provider(path: Path) -> None:
    names = _names_of_providers()
    everywhere = _pattern([name for name in names if name.lower() != WIRE])
    in_code = _pattern(names)
    for text, for_readers in _words(PROXY[path]):
        found = (everywhere if for_readers else in_code).search(text)
        assert not found, f"{path} names {found and found[0]}: {text[:80]!r}"


def _home(module: Path) -> str:
    """Give the test module of a module: the same path below `tests`."""
    folder = Path("tests", module.parent)
    stem = module.parent.name if module.stem == "__init__" else module.stem.strip("_")
    return (folder / f"test_{stem}.py").as_posix()


def _has_code(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))


def _is_a_providers(module: Path) -> bool:
    """Tell the modules that the contract suite and the transcripts prove."""
    return module.as_posix() in map(_module_of, PROVIDERS)


def test_every_test_module_is_about_a_module() -> None:
    homes = {_home(path) for path in [*ADAPTERS, *PROXY]}
    about_modules = [path for path in TESTS if path.parent != HOSTILE]
    inner = [p.as_posix() for p in about_modules if len(p.parts) > 2 and p.stem[:5] == "test_"]
    assert [name for name in inner if name not in homes and name not in SUITES] == []


def test_an_attack_is_known_by_its_number() -> None:
    names = [path.name for path in TESTS if path.parent == HOSTILE and path.stem[:5] == "test_"]
    assert [name for name in names if not re.fullmatch(r"test_\d\d_[a-z_]+\.py", name)] == []


def test_every_module_with_code_has_its_test_module() -> None:
    bare = {
        path.as_posix()
        for path, tree in (ADAPTERS | PROXY).items()
        if _has_code(tree) and not _is_a_providers(path) and not (ROOT / _home(path)).exists()
    }
    assert bare == UNTESTED.keys()


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in TESTS}
    assert [str(folder) for folder in folders if folder / "__init__.py" not in TESTS] == []


@pytest.mark.parametrize("path", EVERYTHING, ids=str)
def test_a_module_opens_with_what_it_is_for(path: Path) -> None:
    assert not EVERYTHING[path].body or ast.get_docstring(EVERYTHING[path])


@pytest.mark.parametrize("path", EVERYTHING, ids=str)
def test_no_module_is_a_drawer_for_odds_and_ends(path: Path) -> None:
    assert path.stem not in BANNED_NAMES
    assert path.parent.name not in BANNED_NAMES
