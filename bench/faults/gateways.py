"""Gateways, each in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.gateway_process import serving

KEY = "easel-faults-key-0123456789"


@asynccontextmanager
async def run_gateway(folder: Path) -> AsyncIterator[str]:
    """Run a gateway; yield its URL. Blocking calls run in a thread: the provider uses the loop."""
    process = serving(folder, "--config", "easel.yaml")
    url = await asyncio.to_thread(process.__enter__)
    try:
        yield url
    finally:
        await asyncio.to_thread(process.__exit__, None, None, None)


def write_settings(folder: Path, provider: str, jobs: str = "{}") -> Path:
    """Write the settings of a gateway into a new folder; return the folder."""
    folder.mkdir()
    virtual_key = f"{{provider: openai, api_key: none, custom_host: '{provider}/v1'}}"
    (folder / "easel.yaml").write_text(
        f"api_keys: {{app: {{key: {KEY}}}}}\n"
        f"virtual_keys: {{up: {virtual_key}}}\n"
        f"configs: {{up: {{virtual_key: up}}}}\n"
        f"server: {{shutdown_seconds: 10}}\n"
        f"jobs: {jobs}\n"
        "log: {format: none}\n",
        encoding="utf-8",
    )
    return folder
