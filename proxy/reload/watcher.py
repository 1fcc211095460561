"""Has a settings file reloaded when it has changed, and when SIGHUP says so.

It knows no application: whoever follows is given a text, in one process or in a supervisor of many.
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
"""How often changes are asked for, and how long those that follow one another are taken as one."""
_POLL_SECONDS = 5.0
"""How often files are looked at anyway: not every file system tells of changes."""
_START_DELAY_SECONDS = 1.0
_SETTLE_SECONDS = 0.1
_MAX_LINKS = 40
"""How many symbolic links of one path are followed: as many as Linux follows."""
_MAX_READS = 20
"""A file that somebody is writing is read until it stays as it is, for two seconds at most."""


class SettingsReceiver(Protocol):
    """Who is given the texts. `files` are those that the settings in force name."""

    @property
    def files(self) -> Sequence[str]:
        """Name the files that are read with the settings."""

    async def apply(self, text: str, file: str) -> object:
        """Take a text, good or bad."""

    def reject(self, problems: Sequence[Problem]) -> None:
        """Hear that there is no text."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """What files hold: a text or what is wrong with it, and the bytes of those that it names."""

    text: str
    problems: Sequence[Problem]
    named_files: Sequence[bytes]


@asynccontextmanager
async def watch_settings_file(
    file: str, follower: SettingsReceiver, *, version: str, watches: bool
) -> AsyncIterator[None]:
    """Have a file's new contents applied while a block lasts.

    `version` is that of the text in force. Without `watches`, only SIGHUP has it read.
    """
    ours, loop = SettingsFileWatcher(file, follower), asyncio.get_running_loop()
    await ours.start(version)
    loop.add_signal_handler(signal.SIGHUP, ours.request_reload)
    tasks = [asyncio.create_task(ours.run())]
    if watches:
        tasks.append(asyncio.create_task(ours.watch()))
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class SettingsFileWatcher:
    """One file that is followed. Contents are compared, never events."""

    def __init__(self, file: str, follower: SettingsReceiver) -> None:
        self._file = file
        self._receiver = follower
        self._applied = _Contents("", (), ())
        self._signatures = stat_signatures(self.files)
        self._is_forced = False
        self._wake = asyncio.Event()

    @property
    def files(self) -> tuple[str, ...]:
        """All that is followed."""
        return (self._file, *self._receiver.files)

    async def start(self, version: str) -> None:
        """Note what the files hold now; what changed since they were loaded is applied."""
        self._applied = await asyncio.to_thread(self._read)
        if settings_version(self._applied.text) != version:
            self.request_reload()

    def request_reload(self) -> None:
        """Have the file read and applied, whether it has changed or not."""
        self._is_forced = True
        self._wake.set()

    async def run(self) -> None:
        """Apply what is new, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            again, self._is_forced = self._is_forced, False
            contents = await self._read_until_stable()
            if again or contents != self._applied:
                self._applied = await self._apply(contents)

    async def watch(self) -> None:
        """Look whenever something has happened on the way to the files, for ever."""
        # What watches takes a tenth of a second to import: a client comes first.
        await asyncio.sleep(_START_DELAY_SECONDS)
        # What has happened since `begin` nothing else would tell of.
        self._wake.set()
        while True:
            steps = watched_paths(self.files)
            async with aclosing(_file_events(steps)) as happenings:
                async for happened in happenings:
                    before, self._signatures = self._signatures, stat_signatures(self.files)
                    if happened or self._signatures != before:
                        self._wake.set()
                    if watched_paths(self.files) != steps:
                        break

    async def _apply(self, contents: _Contents) -> _Contents:
        """Give contents to the follower, and what has been seen with that: it may name others."""
        before = self.files
        if contents.problems:
            self._receiver.reject(contents.problems)
        else:
            await self._receiver.apply(contents.text, self._file)
        if self.files == before:
            return contents
        return replace(contents, named_files=await asyncio.to_thread(self._read_named_files))

    async def _read_until_stable(self) -> _Contents:
        """Read until two readings are the same: an editor empties a file before it writes it."""
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


async def _file_events(steps: frozenset[Path]) -> AsyncGenerator[bool, None]:
    """Tell when something has happened to files and links: now, if True; perhaps, if False.

    Ends where nobody can watch them: then they may lie elsewhere.
    """
    loop, stop = asyncio.get_running_loop(), threading.Event()
    told: asyncio.Queue[bool | None] = asyncio.Queue()

    def tell(happened: bool | None) -> None:  # noqa: FBT001 - what is put into the queue
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(told.put_nowait, happened)

    threading.Thread(target=_watch, args=(steps, stop, tell), daemon=True).start()
    try:
        while (happened := await told.get()) is not None:
            yield happened
    finally:
        stop.set()


def _watch(
    steps: frozenset[Path], stop: threading.Event, tell: Callable[[bool | None], None]
) -> None:
    """Tell what happens until told to stop: in a thread of its own, which nobody waits for."""
    from watchfiles import watch  # noqa: PLC0415 - an extra: `Server.watches` has looked for it

    names = frozenset(map(str, steps))
    with contextlib.suppress(OSError, RuntimeError):
        for changes in watch(
            *parent_folders(steps),
            watch_filter=lambda _, path: path in names,
            recursive=False,
            step=_STEP_MS,
            debounce=_DEBOUNCE_MS,
            rust_timeout=int(_POLL_SECONDS * 1000),
            yield_on_timeout=True,
            stop_event=stop,
        ):
            tell(bool(changes))
    # A folder has gone, or the system watches no more: then looking has to do.
    if not stop.wait(_POLL_SECONDS):
        tell(False)  # noqa: FBT003 - see `tell`
        tell(None)


def watched_paths(files: Iterable[str]) -> frozenset[Path]:
    """Give files and the links on the way to them; to their folders no link leads any more."""
    return frozenset(step for file in files for step in _symlink_chain(file))


def parent_folders(steps: Iterable[Path]) -> frozenset[Path]:
    """Give the folders in which steps lie, those that are there."""
    return frozenset(filter(Path.is_dir, (step.parent for step in steps)))


def _symlink_chain(file: str) -> set[Path]:
    at, todo = Path("/"), list(Path(file).absolute().parts[1:])
    steps: set[Path] = set()
    links = 0
    while todo and links <= _MAX_LINKS:
        step = at / todo.pop(0)
        if step.name == "..":
            at = at.parent
        elif step.is_symlink():
            steps.add(step)
            links += 1
            target = step.readlink()
            at = Path("/") if target.is_absolute() else at
            todo[:0] = target.parts[target.is_absolute() :]
        else:
            at = step
    return {*steps, at}


def stat_signatures(files: Iterable[str]) -> list[tuple[int, int, int, int] | None]:
    """Give what is cheap to know of files, and is another when they have changed."""
    return [_stat_signature(file) for file in files]


def _stat_signature(file: str) -> tuple[int, int, int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
