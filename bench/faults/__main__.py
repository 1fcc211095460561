"""Tells all stories, writes docs/reliability.md, and exits with 1 where a promise is broken."""

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

from .gateways import settled, started
from .provider import Provider, charging
from .rows import Row, Seen, rows
from .scene import Scene

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: make faults -->\n", "<!-- end of what is measured -->\n"
DEADLINE = 0.5
"""Seconds after which the second gateway tells a client to ask again."""
MOST_SECONDS = 55.0


async def told(folder: Path) -> list[Seen]:
    """Tell all stories, side by side."""
    provider, all_rows = Provider(), rows(folder)
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(charging(provider))
        for number in ("1", "2"):
            settled(folder / number, at)
        wait = f"{{wait_seconds: {DEADLINE}}}"
        url = await stack.enter_async_context(started(settled(folder / "3", at)))
        strict = await stack.enter_async_context(started(settled(folder / "4", at, wait)))
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

        async def one(number: int, row: Row) -> Seen:
            name = f"story {number}"
            provider.plays[name] = row.play
            got = await row.story(Scene(name, url, strict, provider, session))
            return Seen(row, provider.calls[name], got)

        return await asyncio.gather(*[one(*it) for it in enumerate(all_rows)])


def table(seen: list[Seen], seconds: float) -> str:
    """Write the table, and where and when it was made."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    made = f"{datetime.now(UTC):%Y-%m-%d}: Easel {__version__}, Python {platform.python_version()}"
    parts = f"openai {version('openai')}, portkey-ai {version('portkey-ai')}"
    return "\n".join(
        [
            f"{made}, {machine}; {parts}; {len(seen)} faults in {seconds:.0f} seconds.",
            "",
            "| fault | client | what it got | paid calls | pictures | as promised |",
            "| --- | --- | --- | --- | --- | --- |",
            *[it.cells() for it in seen],
        ]
    )


def main() -> None:
    """Tell the stories, write the page, and say what is broken."""
    os.environ["NO_PROXY"] = "*"
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(asyncio.wait_for(told(Path(folder)), MOST_SECONDS))
    made = table(seen, time.monotonic() - begun)
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(pattern.sub(lambda _: f"{BEGIN}\n{made}\n\n{END}", page), encoding="utf-8")
    print(made)
    sys.exit(not all(it.kept for it in seen))


if __name__ == "__main__":
    main()
