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
from .bench import Bench, benching
from .contestants import EASEL, GATEWAYS, KEEPS_NOTHING, RELAY, STATIC
from .environment import HOME, MissingError, prepared, say
from .growth import growth
from .load import BadAnswersError
from .pictures import LARGE
from .scenarios import (
    LOADS,
    QUICK,
    SMOKE,
    crowd,
    forms,
    fresh,
    loads,
    streams,
    streams_of_rivals,
    warm,
    workers,
)
from .servers import StartError
from .soak import soak
from .targets import LINES, NotMeasuredError, outcome

_ROUNDS = 3


async def full(bench: Bench, rounds: int) -> None:
    """Measure everything, and write it down."""
    async with AsyncExitStack() as stack:
        await bench.start(stack, (*GATEWAYS, KEEPS_NOTHING, STATIC))
        await warm(bench)
        await streams_of_rivals(bench)
        for number in range(rounds):
            for load in LOADS:
                say(f"round {number + 1} of {rounds}: {load.title}")
                await loads(bench, load, number)
            say(f"round {number + 1} of {rounds}: events, and pictures in another form")
            await streams(bench)
            await forms(bench)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: start, and slow readers")
        await fresh(bench)
        say(f"round {number + 1} of {rounds}: two workers")
        await workers(bench)
    await crowd(bench)
    drawn = await growth(bench, rounds)
    result: dict[str, Any] = {
        **report.kept(),
        "about": report.facts(bench.site.environment, rounds),
        "summary": report.summary(bench.found),
        "values": bench.found.values,
    }
    report.keep(result)
    (report.PLACE / "growth.svg").write_text(drawn, encoding="utf-8")
    print("\n".join(report.verdicts(bench.found)))


async def quick(bench: Bench, rounds: int) -> None:
    """Measure Easel and the minimal relay, and print."""
    async with AsyncExitStack() as stack:
        await bench.start(stack, (EASEL, RELAY))
        await warm(bench, 5, QUICK)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds} ...")
            for load in LOADS:
                if load.id in QUICK:
                    await loads(bench, load, number, 3)
    tell(bench)


async def smoke(bench: Bench, _: int) -> None:
    """See that everything works that needs no rival; what it measures is worth little."""
    async with AsyncExitStack() as stack:
        await bench.start(stack, (*GATEWAYS, KEEPS_NOTHING, STATIC))
        await warm(bench, 1, SMOKE)
        for load in LOADS:
            if load.id in SMOKE:
                await loads(bench, load, 0, 1)
        await streams(bench, 2)
        await forms(bench, 1, [LARGE])
    await fresh(bench, 4, 0.5)
    await workers(bench, 1, 1)
    await crowd(bench, 20, 1)
    tell(bench)


def tell(bench: Bench) -> None:
    """Print what was found."""
    measured = []
    for line in LINES:
        try:
            outcome(line, bench.found)
        except NotMeasuredError:
            continue
        measured.append(line)
    print("\n".join([*report.verdicts(bench.found, measured), *report.tables(bench.found)]))


KINDS: dict[str, tuple[Callable[[Bench, int], Coroutine[None, None, None]], int, bool]] = {
    "full": (full, _ROUNDS, True),
    "quick": (quick, _ROUNDS, False),
    "smoke": (smoke, 1, False),
    "soak": (soak, 20, False),
}
"""What can be asked for, how many rounds (or minutes), and whether with rivals."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="compare", description=__doc__)
    parser.add_argument("what", choices=KINDS)
    parser.add_argument("much", type=int, nargs="?", help="how many rounds; of a soak, minutes")
    given = parser.parse_args()
    what, much, rivals = KINDS[given.what]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(measured(what, given.much or much, rivals=rivals))


async def measured(
    what: Callable[[Bench, int], Coroutine[None, None, None]], much: int, *, rivals: bool
) -> None:
    """Run one kind of comparison; an answer that is none ends it."""
    try:
        async with benching(prepared(rivals=rivals)) as bench:
            try:
                await what(bench, much)
            finally:
                # Not a result: to look at where a run was ended.
                (HOME / "last.json").write_bytes(orjson.dumps(bench.found.values))
    except (BadAnswersError, MissingError, StartError) as error:
        raise SystemExit(f"compare: {error}") from error


if __name__ == "__main__":
    main()
