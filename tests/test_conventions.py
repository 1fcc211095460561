"""The project's conventions: import order, pure adapters, no provider names in `proxy`, tests."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from adapters import ALIASES, PROVIDERS, get_adapter
from tests.support.source_tree import ROOT, dotted, imported, modules, sources

ORDER: tuple[frozenset[str], ...] = (
    frozenset({"errors", "sandbox"}),
    frozenset({"settings"}),
    frozenset({"http", "state"}),
    frozenset({"routing"}),
    frozenset({"context"}),
    frozenset({"observability", "reload"}),
    frozenset({"blobs", "upstream"}),
    frozenset({"cache", "jobs"}),
    frozenset({"pipeline", "cluster"}),
    frozenset({"middlewares"}),
    frozenset({"endpoints"}),
    frozenset({"app"}),
    frozenset({"server"}),
    frozenset({"workers"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""The packages of `proxy`, lowest first. Each may import what stands on an earlier line."""

TOP_LEVEL = {"__init__", "__main__", "app", "cluster", "context", "errors"}
"""The modules directly in `proxy`."""

TEST_FOLDERS = {
    *("cluster", "contract", "deploy", "faults", "fuzz", "golden", "hostile", "support", "system"),
}
"""Folders of `tests` that cut across packages. All others mirror a package."""

IMPURE = {
    *("asyncio", "http.client", "os", "pathlib", "random", "secrets", "socket", "ssl"),
    *("subprocess", "tempfile", "threading", "time", "urllib.request"),
}
"""Standard modules with I/O, time or randomness, which adapters may not use."""

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core", "services"}
BANNED_FIRST_WORDS = {"Give", "Tell", "Have", "Say", "Let"}

WIRE = "openai"
"""The client's wire format is named after a provider: docstrings may mention it."""
HOMONYMS = (
    "metadata.google.internal",
    "x-google-metadata-request",
    "google.auth",
    "/openai",
)
"""A host, a header, a library and a path of the gateway's own that contain a provider's name."""
BUILT_IN = "sandbox"
"""The provider that is part of `proxy`: `upstream` starts it."""


def package(name: str) -> str:
    """Return the part of `proxy` that a dotted name belongs to, "" for `proxy` itself."""
    return "".join(name.split(".")[1:2])


RUNG = {name: at for at, names in enumerate(ORDER) for name in names}


def test_imports_follow_the_order() -> None:
    for path, tree in sources("proxy").items():
        here = package(dotted(path))
        for name in imported(tree):
            there = package(name) if name.startswith("proxy.") else ""
            if not there or there == here:
                continue
            below = sorted(word for names in ORDER[: RUNG[here]] for word in names)
            assert RUNG[there] < RUNG[here], (
                f"{path} imports {name}, but proxy/{here} may import only: {', '.join(below)}. "
                f"Pass the value as an argument, or move the code up."
            )


def test_the_order_lists_every_package() -> None:
    top = {path.with_suffix("").parts[1] for path in sources("proxy")} - {"__init__"}
    assert top == RUNG.keys()
    assert {path.stem for path in sources("proxy") if len(path.parts) == 2} == TOP_LEVEL


def test_no_modules_import_each_other_even_for_types() -> None:
    graph = {
        name: {it for it in imported(tree) if it in modules()} for name, tree in modules().items()
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(f"import cycle: {' <- '.join(error.args[1])}") from None


def test_adapters_are_pure() -> None:
    allowed = {*sys.stdlib_module_names, "orjson", "adapters"}
    for path, tree in sources("adapters").items():
        names = set(imported(tree))
        assert {name.partition(".")[0] for name in names} <= allowed, path
        assert not IMPURE & names, path


READS_LATE = re.compile(r"request\.app\[SETTINGS\]")


def test_a_request_reads_the_settings_that_it_began_with() -> None:
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in sources("proxy")}
    assert [str(path) for path, text in texts.items() if READS_LATE.search(text)] == []


def _pattern(names: list[str]) -> re.Pattern[str]:
    """Match any of the names as words, however their parts are joined."""
    spelled = (r"[-_ ]?".join(map(re.escape, re.split(r"[-_ ]", name.lower()))) for name in names)
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(sorted(spelled))})(?![a-z0-9])")


def _strings(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Yield every identifier and string of a module, and whether it is a docstring."""
    alone = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    docstrings = {id(value) for value in alone if isinstance(value, ast.Constant)}
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, str):
                snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", value).lower()
                for other in HOMONYMS:
                    snake = snake.replace(other, "")
                yield snake, id(node) in docstrings


def test_the_proxy_names_no_provider() -> None:
    foreign = [name for name in PROVIDERS if name != BUILT_IN]
    names = [*foreign, *ALIASES, *(get_adapter(name).name for name in foreign)]
    in_docstrings = _pattern([name for name in names if name.lower() != WIRE])
    in_code = _pattern(names)
    for path, tree in sources("proxy").items():
        for text, is_docstring in _strings(tree):
            found = (in_docstrings if is_docstring else in_code).search(text)
            assert not found, (
                f"{path} names the provider {found and found[0]!r} in {text[:80]!r}: what depends "
                f"on a provider belongs in adapters/providers"
            )


def test_docstrings_begin_with_a_plain_verb_or_noun() -> None:
    for path, tree in sources("adapters", "proxy").items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node) or "").partition(" ")[0]
                assert first not in BANNED_FIRST_WORDS, (
                    f"{path}: {getattr(node, 'name', 'module')}: a docstring begins {first!r}. "
                    f"Write Return, Yield, Raise, Send, or 'Whether …'."
                )


def test_module_names_say_what_is_inside() -> None:
    for path, tree in sources("adapters", "proxy", "tests").items():
        assert not tree.body or ast.get_docstring(tree), f"{path} has no docstring"
        assert not BANNED_NAMES & {path.stem, path.parent.name}, path


def test_tests_mirror_packages() -> None:
    packages = {path.parent for path in sources("adapters", "proxy")}
    mirrored = {path.parent for path in sources("tests") if path.parts[1] not in TEST_FOLDERS}
    for folder in mirrored - {Path("tests")}:
        assert folder.relative_to("tests") in packages, f"{folder} mirrors no package"
    contract = {Path("adapters/providers")}  # its tests are tests/contract and the transcripts
    for folder in packages - contract:
        tested = [path for path in sources("tests") if path.parent == "tests" / folder]
        assert any(path.stem.startswith("test_") for path in tested), f"no tests for {folder}"


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in sources("tests")}
    assert [
        str(folder) for folder in folders if folder / "__init__.py" not in sources("tests")
    ] == []


def test_test_modules_import_no_test_modules() -> None:
    for path, tree in sources("tests").items():
        for name in imported(tree):
            shared = name.startswith("tests.") and name.rpartition(".")[2].startswith("test_")
            assert not shared, f"{path} imports {name}: shared code belongs in tests/support"


LONG_SLEEPS: dict[str, tuple[int, str]] = {
    "tests/deploy/test_monitoring.py": (2, "polls Prometheus, which scrapes once a second"),
    "tests/deploy/test_restarts.py": (1, "HAProxy checks its servers once a second"),
    "tests/hostile/test_slow_clients.py": (1, "a client that never reads, beyond its timeout"),
    "tests/proxy/cache/test_store.py": (1, "a store outlasts the purge"),
    "tests/proxy/endpoints/test_jobs.py": (1, "a job runs while it is polled"),
    "tests/proxy/jobs/test_cluster.py": (2, "the shortest keep-alive interval is a second"),
    "tests/proxy/jobs/test_delivery.py": (1, "a job fails after several keep-alive intervals"),
    "tests/proxy/jobs/test_store.py": (4, "jobs expire, each at its own time"),
    "tests/proxy/middlewares/test_jobs.py": (4, "a provider is slower than a keep-alive interval"),
    "tests/proxy/observability/metrics/test_request.py": (1, "the cache stores in the background"),
    "tests/proxy/observability/tracing/test_export.py": (1, "closing waits for the exporter"),
    "tests/proxy/pipeline/test_passthrough.py": (1, "silences longer than a comment interval"),
    "tests/proxy/pipeline/test_sse.py": (1, "a silence longer than a comment interval"),
    "tests/proxy/sandbox/test_server.py": (1, "drawing goes on after its client has left"),
    "tests/proxy/server/test_drain.py": (1, "closing waits for a client that does not read"),
    "tests/proxy/server/test_run.py": (5, "buffers fill, and results expire, in another process"),
    "tests/proxy/upstream/test_client.py": (2, "a stream that outlasts the total timeout"),
    "tests/proxy/upstream/test_http1.py": (
        1,
        "memory is read once it is stable",
    ),
    "tests/proxy/upstream/test_retry.py": (3, "time spent counts against a timeout"),
    "tests/proxy/workers/test_metrics.py": (1, "workers report what they count once a second"),
    "tests/support/providers.py": (1, "a provider that clients with a short timeout leave"),
    "tests/support/single_gateway.py": (1, "a provider that clients with a short timeout leave"),
    "tests/support/slow_clients.py": (1, "a client that sends slowly, within each timeout"),
    "tests/system/test_listeners.py": (3, "a client that never reads, beyond its timeout"),
    "tests/system/test_sdk_retries.py": (1, "longer than jobs.wait_seconds"),
}
"""How often each module sleeps for 0.1 seconds and more, and why. Wait for an event or a condition
instead (tests/support/waiting.py)."""


def test_tests_wait_for_conditions_instead_of_sleeping() -> None:
    programs = {"cluster", "fuzz"}
    found = Counter(
        str(path)
        for path, tree in sources("tests").items()
        if path.parts[1] not in programs
        for node in ast.walk(tree)
        if _is_long_sleep(node)
    )
    assert found == {path: count for path, (count, _) in LONG_SLEEPS.items()}


def _is_long_sleep(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return False
    seconds = node.args[0].value
    is_long = isinstance(seconds, int | float) and seconds >= 0.1
    return is_long and ast.unparse(node.func) in ("asyncio.sleep", "time.sleep")
