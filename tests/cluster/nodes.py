"""The nodes of the cluster: gateways with two workers each, started with `easel serve`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.servers import ROOT, Server
from tests.support.s3 import ACCESS_KEY, BUCKET

KEY = "easel-cluster-key-0123456789"
_SECONDS = 60
_POLL_SECONDS = 0.05

SETTINGS = """
server: {{host: 127.0.0.1, port: {port}, workers: 2, shutdown_seconds: 30, drain_seconds: 1}}
api_keys: {{load: {{key: {key}}}}}
virtual_keys:
  up: {{provider: openai, api_key: test-key-0123456789, custom_host: {provider}/v1}}
redis: {{url: redis://127.0.0.1:{redis}, timeout_seconds: 1}}
blobs:
  store: s3://{bucket}/easel
  s3_endpoint: {store}
  signing_key: one-key-for-all-nodes-0123456789abcdef
jobs: {{result_ttl_seconds: 120}}
timeouts: {{connect: 5, idle: 30, total: 60}}
limits: {{caller_jobs: 1000}}
state_dir: {folder}/state
log: {{format: json}}
"""


@dataclass
class Node:
    """A gateway and its workers."""

    name: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """The node's URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def file(self) -> Path:
        """The settings file."""
        return self.folder / "easel.yaml"

    def write_settings(self, provider: Server, redis: Server, store: Server) -> None:
        """Write the settings file."""
        self.folder.mkdir()
        text = SETTINGS.format(
            port=self.port,
            key=KEY,
            provider=provider.url,
            redis=redis.port,
            bucket=BUCKET,
            store=store.url,
            folder=self.folder,
        )
        self.file.write_text(text)

    def start(self) -> None:
        """Start the node and wait until it is ready."""
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
            "AWS_REGION": "us-east-1",
        }
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "proxy", "serve", "--config", str(self.file)],
                env=environ,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        deadline = time.monotonic() + _SECONDS
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: {(self.folder / 'err').read_text()[-2000:]}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> int:
        """Stop the node with SIGTERM; return its exit status."""
        assert self.process
        self.process.terminate()
        status = self.process.wait(_SECONDS)
        self.process = None
        return status

    def kill(self) -> None:
        """Kill all processes of the node."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def kill_worker(self) -> None:
        """Kill one worker."""
        os.kill(self.workers[0], signal.SIGKILL)

    def reload(self) -> None:
        """Send SIGHUP: reload the settings."""
        assert self.process
        self.process.send_signal(signal.SIGHUP)

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers."""
        assert self.process
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(it) for it in children]

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:  # noqa: S310 - our own
                return bool(answer.status == 200)  # noqa: PLR2004 - ready
        except (urllib.error.URLError, OSError):
            return False
