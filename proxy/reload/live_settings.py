"""The current settings of an application, and hot reload."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aiohttp import web

from proxy.reload.diff import describe_changes
from proxy.reload.restart_only import apply_hot, restart_required
from proxy.reload.snapshot import SettingsSnapshot
from proxy.settings.loader import Settings, SettingsError, parse
from proxy.settings.yaml_file import Problem

_LOG = logging.getLogger("easel")

_NO_KEYS = (
    "is empty: a running gateway that was started with API keys does not generate one. Keep at "
    "least one key, or restart the gateway"
)


async def apply(app: web.Application, text: str, file: str) -> list[Problem]:
    """Apply the text of a settings file to a running application; return its problems.

    With any problem, nothing changes. The text is parsed in a thread, so requests go on.
    """
    return await app[LIVE_SETTINGS].apply(text, file)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A checked text: the settings to apply, what they change, and what needs a restart."""

    settings: Settings
    changes: str
    restart_required: tuple[str, ...]


class LiveSettings:
    """The settings of a process: `snapshot` is replaced as a whole, between two requests.

    `reloads_good` and `reloads_bad` count reloads; `problems` are those of the last one, if it
    failed. `loaded_at` is the Unix time of the last success. `restart_required` names settings in
    the file that need a restart. `on_applied` is called after each success.
    """

    def __init__(self, settings: Settings) -> None:
        self.snapshot = SettingsSnapshot(settings)
        self.loaded_at = time.time()
        self.reloads_good = 0
        self.reloads_bad = 0
        self.problems: Sequence[Problem] = ()
        self.restart_required: tuple[str, ...] = ()
        self.on_applied: list[Callable[[], object]] = []
        self._startup = settings.file_settings or settings
        self._generated_keys = {} if self._startup.api_keys else settings.api_keys
        self._lock = asyncio.Lock()

    @property
    def version(self) -> str:
        """A short digest of the current settings' text."""
        return self.snapshot.settings.version

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the current settings name, such as the price table."""
        return self.snapshot.settings.referenced_files

    async def apply(self, text: str, file: str, *, should_log: bool = True) -> list[Problem]:
        """Apply a text if it is valid; return its problems.

        `should_log` is for one of several workers, so that the log has one line.
        """
        async with self._lock:
            try:
                candidate = await asyncio.to_thread(self._check, text, file)
            except SettingsError as error:
                self.reject(error.problems, should_log=should_log)
                return error.problems
            self._install(candidate, should_log=should_log)
        return []

    def reject(self, problems: Sequence[Problem], *, should_log: bool = True) -> None:
        """Record a failed reload; the settings stay as they are."""
        self.problems = problems
        self.reloads_bad += 1
        if not should_log:
            return
        problem_list = " | ".join(map(str, problems))
        _LOG.error("settings reload failed; keeping the previous settings: %s", problem_list)

    def _check(self, text: str, file: str) -> _Candidate:
        """Parse and check a text. Raises `SettingsError`."""
        if not text.strip():
            raise SettingsError([Problem(file, 0, "", "is empty")])
        read, running = parse(text, file=file), self.snapshot.settings
        if not (read.api_keys or self._generated_keys):
            raise SettingsError([Problem(file, 0, "api_keys", _NO_KEYS)])
        settings = apply_hot(running, read)
        if not read.api_keys:
            settings = replace(settings, api_keys=self._generated_keys)
        return _Candidate(
            settings, describe_changes(running, settings), restart_required(self._startup, read)
        )

    def _install(self, candidate: _Candidate, *, should_log: bool) -> None:
        self.snapshot = SettingsSnapshot(candidate.settings)
        self.loaded_at = time.time()
        self.reloads_good += 1
        self.problems, self.restart_required = (), candidate.restart_required
        for call in self.on_applied:
            call()
        if not should_log:
            return
        parts = [f"settings reloaded, version {self.version}"]
        if candidate.changes:
            parts.append(candidate.changes)
        if candidate.restart_required:
            parts.append(f"restart required for: {', '.join(candidate.restart_required)}")
        _LOG.info("%s", "; ".join(parts))

    def as_object(self) -> dict[str, object]:
        """Return the reload status, for `/readyz?verbose`."""
        outcome = "bad" if self.problems else "good" if self.reloads_good else "none"
        return {
            "version": self.version,
            "loaded_at": round(self.loaded_at, 3),
            "last_reload": outcome,
            "reloads": {"good": self.reloads_good, "bad": self.reloads_bad},
            "problems": list(map(str, self.problems)),
            "waiting_for_restart": list(self.restart_required),
        }


LIVE_SETTINGS: web.AppKey[LiveSettings] = web.AppKey("reloading")
"""The live settings of this process."""
