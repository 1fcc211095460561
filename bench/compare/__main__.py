"""Compares Easel with others: `make bench`, `bench-quick`, `bench-smoke`, `bench-soak`."""

from __future__ import annotations

import argparse
import asyncio
import resource
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import orjson

from . import report
from .bench import Bench, run_bench
from .contestants import EASEL, GATEWAYS, KEEPS_NOTHING, RELAY, STATIC
from .environment import HOME, MissingError, log, prepare
from .growth import growth
from .load import BadAnswersError
from .responses import LARGE
from .scenarios import (
    LOADS,
    QUICK,
    SMOKE,
    check_streams_of_others,
    crowd,
    forms,
    fresh,
    loads,
    streams,
    warm_up,
    workers,
)
from .servers import StartError
from .soak import soak
from .targets import LINES, NotMeasuredError, outcome

_ROUNDS = 3


async def full(bench: Bench, rounds: int) -> None:
    """Measure everything and write the results."""
    async with AsyncExitStack() as stack:
        await bench.start(stack, (*GATEWAYS, KEEPS_NOTHING, STATIC))
        await warm_up(bench)
        await check_streams_of_others(bench)
        for number in range(rounds):
            for load in LOADS:
                log(f"round {number + 1} of {rounds}: {load.title}")
                await loads(bench, load, number)
            log(f"round {number + 1} of {rounds}: events, and images in another form")
            await streams(bench)
            await forms(bench)
    for number in range(rounds):
        log(f"round {number + 1} of {rounds}: start, and slow readers")
        await fresh(bench)
        log(f"round {number + 1} of {rounds}: two workers")
        await workers(bench)
    await crowd(bench)
    svg = await growth(bench, rounds)
    result: dict[str, Any] = {
        **report.load_results(),
        "about": report.describe_run(bench.site.environment, rounds),
        "summary": report.summary(bench.measurements),
        "values": bench.measurements.values,
    }
    report.save_results(result)
    (report.PLACE / "growth.svg").write_text(svg, encoding="utf-8")
    print("\n".join(report.target_rows(bench.measurements)))


async def quick(bench: Bench, rounds: int) -> None:
    """Measure Easel and the minimal relay; print the results."""
    async with AsyncExitStack() as stack:
        await bench.start(stack, (EASEL, RELAY))
        await warm_up(bench, 5, QUICK)
        for number in range(rounds):
            log(f"round {number + 1} of {rounds} ...")
            for load in LOADS:
                if load.id in QUICK:
                    await loads(bench, load, number, 3)
    print_results(bench)


async def smoke(bench: Bench, _: int) -> None:
    """Check that everything works that needs no other gateway; the numbers mean little."""
    async with AsyncExitStack() as stack:
        await bench.start(stack, (*GATEWAYS, KEEPS_NOTHING, STATIC))
        await warm_up(bench, 1, SMOKE)
        for load in LOADS:
            if load.id in SMOKE:
                await loads(bench, load, 0, 1)
        await streams(bench, 2)
        await forms(bench, 1, [LARGE])
    await fresh(bench, 4, 0.5)
    await workers(bench, 1, 1)
    await crowd(bench, 20, 1)
    print_results(bench)


def print_results(bench: Bench) -> None:
    """Print the measured targets and tables."""
    run_bench_kind = []
    for line in LINES:
        try:
            outcome(line, bench.measurements)
        except NotMeasuredError:
            continue
        run_bench_kind.append(line)
    print(
        "\n".join(
            [
                *report.target_rows(bench.measurements, run_bench_kind),
                *report.tables(bench.measurements),
            ]
        )
    )


KINDS: dict[str, tuple[Callable[[Bench, int], Coroutine[None, None, None]], int, bool]] = {
    "full": (full, _ROUNDS, True),
    "quick": (quick, _ROUNDS, False),
    "smoke": (smoke, 1, False),
    "soak": (soak, 20, False),
}
"""Kind of run: its function, default rounds (or minutes), and whether it needs other gateways."""


def main() -> None:
    """Run the kind given on the command line."""
    parser = argparse.ArgumentParser(prog="compare", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("amount", type=int, nargs="?", help="number of rounds; for a soak, minutes")
    arguments = parser.parse_args()
    kind, amount, others = KINDS[arguments.kind]
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    asyncio.run(run_bench_kind(kind, arguments.amount or amount, others=others))


async def run_bench_kind(
    kind: Callable[[Bench, int], Coroutine[None, None, None]], amount: int, *, others: bool
) -> None:
    """Run one kind of comparison; a wrong response ends it."""
    try:
        async with run_bench(prepare(others=others)) as bench:
            try:
                await kind(bench, amount)
            finally:
                # For debugging an aborted run; not a result.
                (HOME / "last.json").write_bytes(orjson.dumps(bench.measurements.values))
    except (BadAnswersError, MissingError, StartError) as error:
        raise SystemExit(f"compare: {error}") from error


if __name__ == "__main__":
    main()
