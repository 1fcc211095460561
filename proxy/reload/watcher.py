"""Watches the settings file and reloads it when its content changes, and on SIGHUP.

It knows no application: the text goes to a `SettingsReceiver`, which is the live settings of one
process, or a supervisor of several workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from proxy.settings.loader import SettingsError, read_settings_text, settings_version
from proxy.settings.yaml_file import Problem

_STEP_MS, _DEBOUNCE_MS = 250, 1000
"""How often file events are collected, and how long successive ones are merged."""
_POLL_SECONDS = 5.0
"""How often files are compared anyway: not every file system reports events."""
_START_DELAY_SECONDS = 1.0
_SETTLE_SECONDS = 0.1
_MAX_LINKS = 40
"""How many symbolic links of one path are followed: as many as Linux follows."""
_MAX_READS = 20
"""A file that is being written is read until two reads agree, for two seconds at most."""


class SettingsReceiver(Protocol):
    """Receives the texts. `files` are the files that the current settings name."""

    @property
    def files(self) -> Sequence[str]:
        """The files that are read with the settings."""

    async def apply(self, text: str, file: str) -> object:
        """Apply a text, valid or not."""

    def reject(self, problems: Sequence[Problem]) -> None:
        """Record that the file cannot be read."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """The settings file's text or problems, and the bytes of the files that it names."""

    text: str
    problems: Sequence[Problem]
    named_files: Sequence[bytes]


@asynccontextmanager
async def watch_settings_file(
    file: str, receiver: SettingsReceiver, *, version: str, watches: bool
) -> AsyncIterator[None]:
    """Apply the file's new contents while the block runs.

    `version` is that of the current text. Without `watches`, only SIGHUP reloads it.
    """
    watcher, loop = SettingsFileWatcher(file, receiver), asyncio.get_running_loop()
    await watcher.start(version)
    loop.add_signal_handler(signal.SIGHUP, watcher.request_reload)
    tasks = [asyncio.create_task(watcher.run())]
    if watches:
        tasks.append(asyncio.create_task(watcher.watch()))
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class SettingsFileWatcher:
    """Watches one settings file. An event only triggers a comparison of contents."""

    def __init__(self, file: str, receiver: SettingsReceiver) -> None:
        self._file = file
        self._receiver = receiver
        self._applied = _Contents("", (), ())
        self._signatures = stat_signatures(self.files)
        self._is_forced = False
        self._wake = asyncio.Event()

    @property
    def files(self) -> tuple[str, ...]:
        """All watched files."""
        return (self._file, *self._receiver.files)

    async def start(self, version: str) -> None:
        """Read the files; apply what changed since the settings were loaded."""
        self._applied = await asyncio.to_thread(self._read)
        if settings_version(self._applied.text) != version:
            self.request_reload()

    def request_reload(self) -> None:
        """Reload the file, whether it has changed or not."""
        self._is_forced = True
        self._wake.set()

    async def run(self) -> None:
        """Apply changes until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            again, self._is_forced = self._is_forced, False
            contents = await self._read_until_stable()
            if again or contents != self._applied:
                self._applied = await self._apply(contents)

    async def watch(self) -> None:
        """Trigger a comparison on file events until cancelled."""
        # Importing the file watcher takes a tenth of a second; serve clients first.
        await asyncio.sleep(_START_DELAY_SECONDS)
        # Changes since `start` have caused no event.
        self._wake.set()
        while True:
            paths = watched_paths(self.files)
            async with aclosing(_file_events(paths)) as events:
                async for event in events:
                    before, self._signatures = self._signatures, stat_signatures(self.files)
                    if event or self._signatures != before:
                        self._wake.set()
                    if watched_paths(self.files) != paths:
                        break

    async def _apply(self, contents: _Contents) -> _Contents:
        """Pass contents to the receiver; return what is applied now: it may name other files."""
        before = self.files
        if contents.problems:
            self._receiver.reject(contents.problems)
        else:
            await self._receiver.apply(contents.text, self._file)
        if self.files == before:
            return contents
        return replace(contents, named_files=await asyncio.to_thread(self._read_named_files))

    async def _read_until_stable(self) -> _Contents:
        """Read until two reads agree: an editor truncates a file before it writes it."""
        contents = await asyncio.to_thread(self._read)
        for _ in range(_MAX_READS):
            await asyncio.sleep(_SETTLE_SECONDS)
            before, contents = contents, await asyncio.to_thread(self._read)
            if contents == before:
                break
        return contents

    def _read(self) -> _Contents:
        text, problems = "", list[Problem]()
        try:
            text = read_settings_text(self._file)
        except SettingsError as error:
            problems = error.problems
        return _Contents(text, problems, self._read_named_files())

    def _read_named_files(self) -> list[bytes]:
        return [_read_bytes(it) for it in self._receiver.files]


def _read_bytes(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError:
        return b""


async def _file_events(paths: frozenset[Path]) -> AsyncGenerator[bool, None]:
    """Yield True for an event of these files and links, False when it is time to compare anyway.

    Ends when they cannot be watched any more, for example because a folder was deleted.
    """
    loop, stop = asyncio.get_running_loop(), threading.Event()
    queue: asyncio.Queue[bool | None] = asyncio.Queue()

    def report(event: bool | None) -> None:  # noqa: FBT001 - what is put into the queue
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(queue.put_nowait, event)

    threading.Thread(target=_watch, args=(paths, stop, report), daemon=True).start()
    try:
        while (event := await queue.get()) is not None:
            yield event
    finally:
        stop.set()


def _watch(
    paths: frozenset[Path], stop: threading.Event, report: Callable[[bool | None], None]
) -> None:
    """Report events until `stop` is set. Runs in a daemon thread."""
    from watchfiles import watch  # noqa: PLC0415 - an extra: `Server.watches` has looked for it

    names = frozenset(map(str, paths))
    with contextlib.suppress(OSError, RuntimeError):
        for changes in watch(
            *parent_folders(paths),
            watch_filter=lambda _, path: path in names,
            recursive=False,
            step=_STEP_MS,
            debounce=_DEBOUNCE_MS,
            rust_timeout=int(_POLL_SECONDS * 1000),
            yield_on_timeout=True,
            stop_event=stop,
        ):
            report(bool(changes))
    # A folder is gone, or the system has no watches left: compare periodically.
    if not stop.wait(_POLL_SECONDS):
        report(False)  # noqa: FBT003 - as in `_file_events`
        report(None)


def watched_paths(files: Iterable[str]) -> frozenset[Path]:
    """Return the files, resolved, and every symbolic link on the way to them.

    A Kubernetes ConfigMap is mounted as a link to a dated folder, `..data`: its files change when
    that link is replaced.
    """
    return frozenset(step for file in files for step in _symlink_chain(file))


def parent_folders(paths: Iterable[Path]) -> frozenset[Path]:
    """Return the existing folders that contain these paths."""
    return frozenset(filter(Path.is_dir, (step.parent for step in paths)))


def _symlink_chain(file: str) -> set[Path]:
    at, todo = Path("/"), list(Path(file).absolute().parts[1:])
    paths: set[Path] = set()
    links = 0
    while todo and links <= _MAX_LINKS:
        step = at / todo.pop(0)
        if step.name == "..":
            at = at.parent
        elif step.is_symlink():
            paths.add(step)
            links += 1
            target = step.readlink()
            at = Path("/") if target.is_absolute() else at
            todo[:0] = target.parts[target.is_absolute() :]
        else:
            at = step
    return {*paths, at}


def stat_signatures(files: Iterable[str]) -> list[tuple[int, int, int, int] | None]:
    """Return device, inode, size and modification time of each file, None for a missing one."""
    return [_stat_signature(file) for file in files]


def _stat_signature(file: str) -> tuple[int, int, int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
