"""Runs all scenarios, writes docs/reliability.md, and exits with 1 if a promise is broken."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import aiohttp

from proxy import __version__

from .client import Client
from .gateways import run_gateway, write_settings
from .provider import Provider, run_provider
from .rows import Outcome, Row, rows

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: make faults -->\n", "<!-- end of what is measured -->\n"
WAIT_SECONDS = 0.5
"""`jobs.wait_seconds` of the strict gateway, which then answers 504."""
TIMEOUT_SECONDS = 55.0


async def run_scenarios(folder: Path) -> list[Outcome]:
    """Run all scenarios concurrently."""
    provider, all_rows = Provider(), rows(folder)
    async with AsyncExitStack() as stack:
        provider_url = await stack.enter_async_context(run_provider(provider))
        for number in ("1", "2"):
            write_settings(folder / number, provider_url)
        wait = f"{{wait_seconds: {WAIT_SECONDS}}}"
        url = await stack.enter_async_context(
            run_gateway(write_settings(folder / "3", provider_url))
        )
        strict = await stack.enter_async_context(
            run_gateway(write_settings(folder / "4", provider_url, wait))
        )
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

        async def run_row(number: int, row: Row) -> Outcome:
            name = f"scenario {number}"
            provider.behaviours[name] = row.behaviour
            results = await row.scenario(Client(name, url, strict, provider, session))
            return Outcome(row, provider.calls[name], results)

        return await asyncio.gather(*[run_row(*it) for it in enumerate(all_rows)])


def table(outcomes: list[Outcome], seconds: float) -> str:
    """Return the table, below a line that says where and when it was measured."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    versions = (
        f"{datetime.now(UTC):%Y-%m-%d}: Easel {__version__}, Python {platform.python_version()}"
    )
    sdks = f"openai {version('openai')}, portkey-ai {version('portkey-ai')}"
    return "\n".join(
        [
            f"{versions}, {machine}; {sdks}; {len(outcomes)} scenarios in {seconds:.0f} seconds.",
            "",
            "| failure | client | result | paid calls | images | promise kept |",
            "| --- | --- | --- | --- | --- | --- |",
            *[it.cells() for it in outcomes],
        ]
    )


def main() -> None:
    """Run the scenarios and write the page; exit with 1 if a promise is broken."""
    os.environ["NO_PROXY"] = "*"
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = asyncio.run(asyncio.wait_for(run_scenarios(Path(folder)), TIMEOUT_SECONDS))
    text = table(outcomes, time.monotonic() - started)
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n\n{END}", page), encoding="utf-8")
    print(text)
    sys.exit(not all(it.passed for it in outcomes))


if __name__ == "__main__":
    main()
