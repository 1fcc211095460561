"""The current settings of an application, and hot reload."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aiohttp import web

from proxy.reload.diff import describe_changes
from proxy.reload.restart_only import apply_hot, restart_required
from proxy.reload.snapshot import SettingsSnapshot
from proxy.settings.loader import Settings, SettingsError, parse
from proxy.settings.yaml_file import Problem

_NO_KEYS = (
    "is empty: a gateway that was started with keys of yours makes none of its own while it runs. "
    "Keep one, or restart it"
)


async def apply(app: web.Application, text: str, file: str) -> list[Problem]:
    """Apply the text of a settings file to a running application; return its problems.

    With any problem, nothing changes. The text is parsed in a thread, so requests go on.
    """
    return await app[LIVE_SETTINGS].apply(text, file)


def say(line: str) -> None:
    """Write a line for the operator to standard error, whatever it quotes of a file."""
    shown = line if line.isprintable() else line.encode("unicode_escape").decode()
    # Nobody may be there to read it.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"easel: {shown}\n")
        sys.stderr.flush()


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

    def __init__(self, settings: Settings, say: Callable[[str], None] = say) -> None:
        self.snapshot = SettingsSnapshot(settings)
        self.loaded_at = time.time()
        self.reloads_good = 0
        self.reloads_bad = 0
        self.problems: Sequence[Problem] = ()
        self.restart_required: tuple[str, ...] = ()
        self.on_applied: list[Callable[[], object]] = []
        self._startup = settings.file_settings or settings
        self._generated_keys = {} if self._startup.api_keys else settings.api_keys
        self._say = say
        self._lock = asyncio.Lock()

    @property
    def version(self) -> str:
        """A short digest of the current settings' text."""
        return self.snapshot.settings.version

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the current settings name, such as the price table."""
        return self.snapshot.settings.referenced_files

    async def apply(self, text: str, file: str, *, aloud: bool = True) -> list[Problem]:
        """Put a text in force if it is good; gives what is wrong with it.

        `aloud`: the operator is told. Of several workers one tells.
        """
        async with self._lock:
            try:
                checked = await asyncio.to_thread(self._check, text, file)
            except SettingsError as error:
                self.reject(error.problems, aloud=aloud)
                return error.problems
            self._install(checked, aloud=aloud)
        return []

    def reject(self, problems: Sequence[Problem], *, aloud: bool = True) -> None:
        """Note a reload that cannot be: what is in force stays."""
        self.problems = problems
        self.reloads_bad += 1
        if not aloud:
            return
        told = " | ".join(map(str, problems))
        self._say(f"settings not reloaded, the last good ones stay in force: {told}")

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

    def _install(self, checked: _Candidate, *, aloud: bool) -> None:
        self.snapshot = SettingsSnapshot(checked.settings)
        self.loaded_at = time.time()
        self.reloads_good += 1
        self.problems, self.restart_required = (), checked.restart_required
        for call in self.on_applied:
            call()
        if not aloud:
            return
        told = [f"settings reloaded, version {self.version}"]
        if checked.changes:
            told.append(checked.changes)
        if checked.restart_required:
            told.append(f"waiting for a restart: {', '.join(checked.restart_required)}")
        self._say("; ".join(told))

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
