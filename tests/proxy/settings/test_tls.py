"""TLS: which files are valid, and how they are reloaded."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.settings.loader import SettingsError, parse
from proxy.settings.tls import ReloadableTls, reload_periodically
from tests.support.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.sign("server")


def problems_of_files(**files: object) -> list[str]:
    """Return the problems of settings with these TLS files."""
    text = "server:\n" + "".join(f"  tls_{key}: {file}\n" for key, file in files.items())
    try:
        parse(text, file="my.yaml", environ={})
    except SettingsError as error:
        return [str(it) for it in error.problems]
    return []


def test_a_pair_that_fits_is_good(authority: Authority, pair: Pair) -> None:
    files = {"certificate": pair.certificate, "key": pair.key}
    assert (
        problems_of_files(**files)
        == problems_of_files(**files, client_ca=authority.certificate)
        == []
    )


@pytest.mark.parametrize("left", ["certificate", "key"])
def test_a_pair_has_two_files(pair: Pair, left: str) -> None:
    files = {"certificate": pair.certificate, "key": pair.key}
    [fault] = problems_of_files(**{left: files[left]})
    other = "key" if left == "certificate" else "certificate"
    assert f" server.tls_{other}: must be set" in fault


@pytest.mark.parametrize("name", ["certificate", "key", "client_ca"])
def test_a_file_that_is_missing_is_told_by_its_line(pair: Pair, name: str) -> None:
    files = {"certificate": pair.certificate, "key": pair.key, "client_ca": pair.certificate}
    at = list(files).index(name) + 2
    [fault] = problems_of_files(**{**files, name: "nowhere.pem"})
    assert fault.startswith(f"my.yaml:{at}: server.tls_{name}: names a file that cannot be read: ")


@pytest.mark.parametrize("name", ["certificate", "key", "client_ca"])
def test_a_file_of_another_kind_is_told_by_its_line(tmp_path: Path, pair: Pair, name: str) -> None:
    (tmp_path / "other").write_text("sekret")
    files = {"certificate": pair.certificate, "key": pair.key, "client_ca": pair.certificate}
    [fault] = problems_of_files(**{**files, name: tmp_path / "other"})
    assert f" server.tls_{name}: names a file without a " in fault
    assert "sekret" not in fault


def test_a_key_of_another_certificate_is_told(authority: Authority, pair: Pair) -> None:
    [fault] = problems_of_files(certificate=pair.certificate, key=authority.sign("other").key)
    assert "my.yaml:3: server.tls_key: names a key that does not match" in fault


def test_a_key_with_a_passphrase_asks_nobody(authority: Authority) -> None:
    locked = authority.sign("locked", passphrase=b"sekret")
    [fault] = problems_of_files(certificate=locked.certificate, key=locked.key)
    assert "server.tls_key: names a key with a passphrase" in fault


@asynccontextmanager
async def tls_server(tls: ReloadableTls) -> AsyncIterator[int]:
    """Run a TLS server and yield its port."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=tls.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def serial_at(port: int, trusting: ssl.SSLContext) -> int:
    """Return the serial number of the server's certificate on a new connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    shown = writer.get_extra_info("ssl_object").getpeercert()
    writer.close()
    await writer.wait_closed()
    return int(shown["serialNumber"], 16)


async def test_a_renewed_certificate_is_shown_to_who_comes_next(
    authority: Authority, pair: Pair
) -> None:
    tls = ReloadableTls(str(pair.certificate), str(pair.key))
    async with tls_server(tls) as port, reload_periodically(tls, interval=0.01):
        assert await serial_at(port, authority.trusting()) == pair.serial
        after = authority.sign("server")
        async with asyncio.timeout(10):
            while await serial_at(port, authority.trusting()) != after.serial:  # noqa: ASYNC110 - as it looks
                await asyncio.sleep(0.01)


async def test_a_renewed_pair_behind_links_is_seen(tmp_path: Path, authority: Authority) -> None:
    pairs = authority.sign("one"), authority.sign("two")
    for number, pair in enumerate(pairs):
        (tmp_path / str(number)).mkdir()
        shutil.copy(pair.certificate, tmp_path / str(number) / "crt")
        shutil.copy(pair.key, tmp_path / str(number) / "key")
    (tmp_path / "now").symlink_to("0")
    tls = ReloadableTls(str(tmp_path / "now/crt"), str(tmp_path / "now/key"))
    (tmp_path / "next").symlink_to("1")
    os.replace(tmp_path / "next", tmp_path / "now")  # noqa: PTH105 - as Kubernetes swaps a volume
    assert tls.reload_if_changed()
    async with tls_server(tls) as port:
        assert await serial_at(port, authority.trusting()) == pairs[1].serial


async def test_a_bad_pair_leaves_the_last_good_one(
    authority: Authority, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ReloadableTls(str(pair.certificate), str(pair.key))
    assert not tls.reload_if_changed()
    shutil.copy(authority.sign("other").key, pair.key)
    for _ in range(3):
        assert not tls.reload_if_changed()
    async with tls_server(tls) as port:
        assert await serial_at(port, authority.trusting()) == pair.serial
    assert [it.levelname for it in caplog.records] == ["WARNING"]
    assert "server.tls_key names a key that does not match" in caplog.text


async def test_a_pair_is_taken_up_once_both_files_have_come(
    authority: Authority, pair: Pair
) -> None:
    tls = ReloadableTls(str(pair.certificate), str(pair.key))
    after = authority.sign("other")
    shutil.copy(after.certificate, pair.certificate)
    assert not tls.reload_if_changed()
    shutil.copy(after.key, pair.key)
    assert tls.reload_if_changed()
    async with tls_server(tls) as port:
        assert await serial_at(port, authority.trusting()) == after.serial
