"""A settings file that changes is applied, whatever way it changes; requests go on meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.reload import watcher as module
from proxy.reload.watcher import (
    SettingsFileWatcher,
    parent_folders,
    stat_signatures,
    watch_settings_file,
    watched_paths,
)
from proxy.settings.loader import settings_version
from proxy.settings.yaml_file import Problem
from tests.support.gateway import ANSWER, OURS, PATH, SETTINGS, json_reply, key_to, provider
from tests.support.gateway_process import running

LONG = 15
OLD = "log: {format: none}\n"


@dataclass
class RecordingReceiver:
    """Records the texts that it receives."""

    files: Sequence[str] = ()
    received: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    async def apply(self, text: str, file: str) -> None:
        assert Path(file).name == "easel.yaml"
        self.received.append(text)

    def reject(self, problems: Sequence[Problem]) -> None:
        self.problems.extend(problems)

    async def receives(self, text: str) -> None:
        """Wait until a text is the last one received."""
        await until(lambda: self.received[-1:] == [text])


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not happened():  # noqa: ASYNC110 - files have no event to wait for
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watched(
    file: Path, *others: Path, watches: bool = True
) -> AsyncIterator[RecordingReceiver]:
    """Watch a file that holds the old text."""
    file.write_text(OLD)  # noqa: ASYNC240 - a few bytes
    hearing = RecordingReceiver(list(map(str, others)))
    async with watch_settings_file(
        str(file), hearing, version=settings_version(OLD), watches=watches
    ):
        yield hearing


async def test_what_is_written_is_heard_and_a_touch_is_not(tmp_path: Path) -> None:
    file = tmp_path / "easel.yaml"
    async with watched(file) as hearing:
        file.touch()
        file.write_text(OLD)
        file.write_text("a: 1")
        await hearing.receives("a: 1")
        file.write_text("a: 2")
        await hearing.receives("a: 2")
        assert hearing.received == ["a: 1", "a: 2"]


async def test_a_file_that_takes_another_s_name_is_heard(tmp_path: Path) -> None:
    async with watched(tmp_path / "easel.yaml") as hearing:
        for text in ("a: 1", "a: 2"):
            (tmp_path / "new").write_text(text)
            (tmp_path / "new").rename(tmp_path / "easel.yaml")
            await hearing.receives(text)


def mapped(folder: Path, day: str, text: str) -> None:
    """Update a settings file as Kubernetes does: by replacing one symbolic link."""
    (folder / day).mkdir()
    (folder / day / "easel.yaml").write_text(text)
    (folder / "..data_tmp").symlink_to(day)
    (folder / "..data_tmp").rename(folder / "..data")


async def test_a_config_map_that_is_exchanged_is_heard_again_and_again(tmp_path: Path) -> None:
    mapped(tmp_path, "..day1", OLD)
    file = tmp_path / "easel.yaml"
    file.symlink_to("..data/easel.yaml")
    hearing = RecordingReceiver()
    async with watch_settings_file(str(file), hearing, version=settings_version(OLD), watches=True):
        for day in (2, 3, 4):
            mapped(tmp_path, f"..day{day}", f"a: {day}")
            await hearing.receives(f"a: {day}")
    assert hearing.received == ["a: 2", "a: 3", "a: 4"]


async def test_a_folder_that_is_taken_away_and_comes_back_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.1)
    folder = tmp_path / "etc"
    folder.mkdir()
    async with watched(folder / "easel.yaml") as hearing:
        folder.rename(tmp_path / "away")
        await until(lambda: bool(hearing.problems))
        assert str(hearing.problems[0]).endswith("easel.yaml: No such file or directory")
        folder.mkdir()
        (folder / "easel.yaml").write_text("a: 1")
        await hearing.receives("a: 1")


async def test_what_the_settings_name_is_followed_as_well(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("a: {}")
    async with watched(tmp_path / "easel.yaml", prices) as hearing:
        prices.write_text("a: {b: 1}")
        await hearing.receives(OLD)


async def test_files_that_a_text_names_anew_are_followed_from_then_on(tmp_path: Path) -> None:
    file, prices = tmp_path / "easel.yaml", tmp_path / "prices.yaml"
    prices.write_text("a: {}")
    async with watched(file, watches=False) as hearing:
        ours = SettingsFileWatcher(str(file), hearing)
        await ours.start(settings_version(OLD))
        contents = await ours._read_until_stable()  # noqa: SLF001 - how a reading is done
        hearing.files = [str(prices)]
        assert (await ours._apply(contents)).named_files == []  # noqa: SLF001 - see above


async def test_what_changed_before_anybody_followed_is_heard(tmp_path: Path) -> None:
    file, hearing = tmp_path / "easel.yaml", RecordingReceiver()
    file.write_text("a: 1")
    async with watch_settings_file(
        str(file), hearing, version=settings_version(OLD), watches=False
    ):
        await hearing.receives("a: 1")


async def test_a_file_that_is_being_written_is_read_until_it_stays_as_it_is(
    tmp_path: Path,
) -> None:
    texts = iter(["", "a: 1\n", "a: 1\nb: 2\n", "a: 1\nb: 2\n"])

    class BeingWritten(SettingsFileWatcher):
        def _read(self) -> Any:
            (tmp_path / "easel.yaml").write_text(next(texts))
            return super()._read()

    hearing = RecordingReceiver()
    contents = await BeingWritten(str(tmp_path / "easel.yaml"), hearing)._read_until_stable()  # noqa: SLF001 - how a reading is done
    assert contents.text == "a: 1\nb: 2\n"


async def test_a_signal_has_the_file_read_also_where_nobody_watches_it(tmp_path: Path) -> None:
    file = tmp_path / "easel.yaml"
    async with watched(file, watches=False) as hearing:
        os.kill(os.getpid(), signal.SIGHUP)
        await hearing.receives(OLD)
        file.write_text("a: 1")
        os.kill(os.getpid(), signal.SIGHUP)
        await hearing.receives("a: 1")
        assert hearing.received == [OLD, "a: 1"]


class Easel:
    """A gateway as a process, whose settings file is ours to write."""

    def __init__(self, folder: Path, url: str, pid: int, session: aiohttp.ClientSession) -> None:
        self.file = folder / "easel.yaml"
        self.pid = pid
        self.session = session
        self.url = url

    async def draw(self) -> int:
        asked, headers = {"prompt": "a cube"}, {**OURS, "x-portkey-virtual-key": "up"}
        async with self.session.post(self.url + PATH, json=asked, headers=headers) as got:
            await got.read()
            return got.status

    async def told(self) -> Any:
        async with self.session.get(self.url + "/readyz?verbose", headers=OURS) as got:
            return (await got.json())["settings"]

    async def tells(self, **expected: Any) -> None:
        """Wait until it tells of its settings what is expected."""
        async with asyncio.timeout(LONG):
            while not expected.items() <= (await self.told()).items():  # noqa: ASYNC110 - see `until`
                await asyncio.sleep(0.02)


@asynccontextmanager
async def easel(folder: Path, text: str) -> AsyncIterator[Easel]:
    (folder / "easel.yaml").write_text(text)
    options = ("--config", str(folder / "easel.yaml"))
    with running(folder, *options, complains=True) as served:
        async with aiohttp.ClientSession() as session:
            yield Easel(folder, served.url, served.pid, session)


async def slowly(request: web.Request) -> web.Response:
    del request
    await asyncio.sleep(0.05)
    return json_reply(ANSWER)


async def test_reloads_under_load_lose_no_request(tmp_path: Path) -> None:
    async with provider(slowly) as fake:
        text = SETTINGS + key_to(fake)
        async with easel(tmp_path, text) as ours:
            statuses: list[int] = []
            over = asyncio.Event()

            async def client() -> None:
                while not over.is_set():
                    statuses.append(await ours.draw())

            clients = [asyncio.create_task(client()) for _ in range(8)]
            for number in range(2):
                good, bad = f"{text}images: {{comment_seconds: {number + 1}}}\n", f"{text}x: 1\n"
                ours.file.write_text(good)
                await ours.tells(version=settings_version(good))
                ours.file.write_text(bad)
                await ours.tells(last_reload="bad", version=settings_version(good))
                ours.file.write_text(good)
                os.kill(ours.pid, signal.SIGHUP)
            over.set()
            await asyncio.gather(*clients)
            assert len(statuses) >= 8
            assert set(statuses) == {200}
    assert "x: is not a setting" in (tmp_path / "err").read_text()


async def test_half_a_file_keeps_the_last_good_one_until_the_rest_is_there(tmp_path: Path) -> None:
    async with provider() as fake:
        text = SETTINGS + key_to(fake)
        whole = text + "images: {incomplete: fail}\n"
        async with easel(tmp_path, text) as ours:
            for part in ("", whole[: whole.index("virtual_keys")].replace("other", "test"), "a: ["):
                bad = (await ours.told())["reloads"]["bad"]
                ours.file.write_text(part)
                await until_bad(ours, bad)
                assert await ours.draw() == 200
            ours.file.write_text(whole)
            await ours.tells(last_reload="good", version=settings_version(whole))


async def until_bad(ours: Easel, before: int) -> None:
    async with asyncio.timeout(LONG):
        while (await ours.told())["reloads"]["bad"] <= before:  # noqa: ASYNC110 - see `until`
            await asyncio.sleep(0.02)


async def test_a_watch_that_is_off_leaves_it_to_the_signal(tmp_path: Path) -> None:
    text = SETTINGS + "server: {watch: off}\n"
    async with easel(tmp_path, text) as ours:
        newer = text + "images: {incomplete: fail}\n"
        ours.file.write_text(newer)
        assert (await ours.told())["version"] == settings_version(text)
        os.kill(ours.pid, signal.SIGHUP)
        await ours.tells(last_reload="good", version=settings_version(newer))
        assert (await ours.told())["reloads"] == {"good": 1, "bad": 0}


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave no handling of the signal behind."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_file_of_its_own_is_the_one_step(tmp_path: Path) -> None:
    here = tmp_path.resolve()
    steps = watched_paths([str(here / "a.yaml")])
    assert steps == {here / "a.yaml"}
    assert parent_folders(steps) == {here}


def test_links_are_steps_and_so_is_what_they_lead_to(tmp_path: Path) -> None:
    here = tmp_path.resolve()
    (here / "day").mkdir()
    (here / "day/a.yaml").write_text("")
    (here / "..data").symlink_to("day")
    (here / "a.yaml").symlink_to("..data/a.yaml")
    (here / "far").mkdir()
    (here / "far/b.yaml").symlink_to(here / "far/../a.yaml")
    steps = watched_paths([str(here / "far/b.yaml")])
    names = ("far/b.yaml", "a.yaml", "..data", "day/a.yaml")
    assert steps == {here / name for name in names}
    assert parent_folders(steps) == {here, here / "far", here / "day"}


def test_a_relative_path_is_one_from_here(tmp_path: Path) -> None:
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert watched_paths(["a.yaml"]) == {tmp_path.resolve() / "a.yaml"}
    finally:
        os.chdir(before)


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert len(watched_paths([str(tmp_path / "a")])) <= 41
    assert stat_signatures([str(tmp_path / "a")]) == [None]


def test_folders_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    assert parent_folders(watched_paths([str(tmp_path / "none/a.yaml")])) == frozenset()


def test_a_trace_is_another_once_the_file_is(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a")
    before = stat_signatures([str(file)])
    assert stat_signatures([str(file)]) == before
    file.write_text("ab")
    assert stat_signatures([str(file)]) != before
