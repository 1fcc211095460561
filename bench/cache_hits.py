"""What a hit of the cache costs the gateway, in CPU. Linux only: it reads /proc.

A provider that answers one picture, and the gateway, through its real entry point, each run in a
process of their own. The picture is made once; then it is asked for again and again, by one client
after the other, in each form. What counts is the CPU time of the gateway's process, all threads.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from relay_memory import KEY, MB, started

FORMS: dict[str, dict[str, Any]] = {
    "b64_json": {"response_format": "b64_json"},
    "events": {"stream": True},
    "url": {"response_format": "url"},
}
SIZES = {"64 KB": 64 * 1024, "6 MB": 6 * MB, "16 MB": 16 * MB}
_TICK = os.sysconf("SC_CLK_TCK")


def provider() -> None:
    """Serve a picture of the size that the prompt names."""

    async def answer(request: web.Request) -> web.Response:
        size = int((await request.json())["prompt"])
        picture = b64encode(b"\x89PNG\r\n\x1a\n".ljust(32, b"\0") + os.urandom(size - 32))
        body = b'{"created":1,"data":[{"b64_json":"' + picture + b'"}]}'
        return web.Response(body=body, content_type="application/json")

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/v1/images/generations", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sys.stdout.write(f"listening on http://127.0.0.1:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    asyncio.run(main())


def cpu(pid: int) -> float:
    """Give the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


async def ask(session: aiohttp.ClientSession, url: str, size: int, form: dict[str, Any]) -> str:
    """Ask for a picture of a size; gives the cache's status."""
    config = '{"virtual_key": "bench", "cache": {"mode": "simple"}}'
    headers = {"x-portkey-api-key": KEY, "x-portkey-config": config}
    body = {"model": "gpt-image-2", "prompt": str(size), **form}
    path = f"{url}/v1/images/generations"
    async with session.post(path, json=body, headers=headers) as response:
        async for _ in response.content.iter_any():
            pass
        response.raise_for_status()
        return response.headers["x-portkey-cache-status"]


async def per_hit(pid: int, url: str, size: int, form: dict[str, Any], rounds: int) -> float:
    """Give the seconds of CPU that a hit takes, on average."""
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            await ask(session, url, size, form)
        before = cpu(pid)
        for _ in range(rounds):
            if await ask(session, url, size, form) != "HIT":
                raise RuntimeError("no hit")
        return (cpu(pid) - before) / rounds


async def run(rounds: int) -> None:
    """Measure every form and size, and print the averages."""
    here = str(Path(__file__).resolve())
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.python_implementation()} "
        f"{platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        async with started(here, "--provider") as (_, upstream):
            settings = Path(folder) / "bench.yaml"
            settings.write_text(
                f"api_keys: {{bench: {{key: {KEY}}}}}\n"
                "virtual_keys:\n"
                f"  bench: {{provider: openai, api_key: none, custom_host: {upstream}/v1}}\n"
                f"state_dir: {folder}\nlog: {{format: none}}\n",
                encoding="utf-8",
            )
            serve = ("-m", "proxy", "serve", "--config", str(settings), "--port", "0")
            async with started(*serve) as (pid, url):
                for name, size in SIZES.items():
                    for form, asked in FORMS.items():
                        times = max(rounds * 2 * MB // max(size, 2 * MB), 20)
                        seconds = await per_hit(pid, url, size, asked, times)
                        each, whole = seconds * 1000, seconds / size * 1024 * MB
                        print(
                            f"{name:>6} as {form:<8} {each:7.2f} ms a hit, {whole:7.2f} s a GB "
                            f"(n={times})"
                        )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--provider", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.provider:
        provider()
    else:
        asyncio.run(run(arguments.rounds))


if __name__ == "__main__":
    main()
