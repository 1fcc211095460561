"""CPU of translating a call by a provider's table: `make bench-translate`.

For each provider, a call with eight parameters is translated by the table of its recommended model,
repeatedly in one process. The result is the median of several rounds in microseconds per call.
Building the provider's request is measured as well.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import adapters
from adapters.contract import Adapter, Credentials, ImageCall
from adapters.errors import ImageError
from proxy import __version__

CALL = {
    "prompt": "A lighthouse at dawn, seen from the sea",
    "n": 1,
    "size": "1792x1024",
    "quality": "high",
    "output_format": "png",
    "background": "auto",
    "user": "user-17",
    "response_format": "b64_json",
}
ROUNDS, CALLS = 7, 2000
LIMIT = 50.0
"""Upper limit of a translation, in microseconds."""


def microseconds(work: Callable[[], object]) -> float:
    """Return the median CPU time of one call of `work`; other processes do not count."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(CALLS):
            work()
        rounds.append((time.process_time() - started) / CALLS * 1e6)
    return statistics.median(rounds)


def measure(adapter: Adapter) -> tuple[float, float | None]:
    """Return the microseconds of translating, and of building the request if possible."""
    params = {"model": adapter.models[0], **CALL}
    table = adapter.table_for(adapter.models[0])
    translation = table.translate(params)
    options = {option.name: "x" for option in adapter.options if not option.operator_only}
    call = ImageCall(params, translation.fields, Credentials("key", options), nonce=1)
    try:
        adapter.build_request(call)
    except (ImageError, NotImplementedError, KeyError, ValueError):
        return microseconds(lambda: table.translate(params)), None
    return microseconds(lambda: table.translate(params)), microseconds(
        lambda: adapter.build_request(call)
    )


def main() -> None:
    """Print a line for each provider, and the slowest."""
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(f"easel {__version__}, {datetime.now(UTC):%Y-%m-%d}, {machine}")
    print(f"median of {ROUNDS} rounds of {CALLS} calls, in microseconds per call\n")
    print(f"{'provider':<20}{'translate':>10}{'request':>10}")
    found = {name: measure(adapters.get_adapter(name)) for name in adapters.PROVIDERS}
    for name, (translating, building) in sorted(found.items(), key=lambda it: -it[1][0]):
        print(
            f"{name:<20}{translating:>10.1f}" + (f"{building:>10.1f}" if building else f"{'-':>10}")
        )
    slowest = max(found, key=lambda name: found[name][0])
    median = statistics.median(translating for translating, _ in found.values())
    print(f"\nmedian {median:.1f}, slowest {found[slowest][0]:.1f} ({slowest}); limit {LIMIT:g}")
    sys.exit(found[slowest][0] > LIMIT)


if __name__ == "__main__":
    main()
