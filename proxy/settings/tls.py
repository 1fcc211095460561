"""TLS of the gateway's own: made of files, held against them, and renewed with them.

certificate  the chain, in PEM, our own certificate first
key          its private key, in PEM, without a passphrase
client_ca    who signs clients' certificates: with it, a client without a good one is turned away
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

_CHECK_SECONDS = 10.0
_TRIES = 3

_LOG = logging.getLogger("easel")


class TlsFileError(Exception):
    """The files are no use; `key` is the setting that names the one at fault."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def tls_file_errors(certificate: str, key: str, client_ca: str) -> Iterator[tuple[str, str]]:
    """Tell what is wrong with the files of TLS, by the setting that names them."""
    if not certificate:
        yield "tls_certificate", "must be set where tls_key or tls_client_ca is"
    elif not key:
        yield "tls_key", "must be set where tls_certificate is"
    else:
        try:
            create_context(certificate, key, client_ca)
        except TlsFileError as error:
            yield error.key, str(error)


def create_context(certificate: str, key: str, client_ca: str = "") -> ssl.SSLContext:
    """Make what connections are encrypted with; raises `BadTlsError`."""
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # Else a client could offer HTTP/2, and find nobody who said no.
    made.set_alpn_protocols(["http/1.1"])
    named = (("tls_certificate", certificate), ("tls_key", key), ("tls_client_ca", client_ca))
    for setting, file in named:
        _check_readable(setting, file)
    _check_certificates("tls_certificate", certificate)
    _load_pair(made, certificate, key)
    if client_ca:
        _check_certificates("tls_client_ca", client_ca)
        made.load_verify_locations(client_ca)
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def _check_readable(setting: str, file: str) -> None:
    if not file:
        return
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - a path may be a text with a line break
            opened.read(1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "that is no path"
        raise TlsFileError(setting, f"names a file that cannot be read: {reason}") from None


def _check_certificates(setting: str, file: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (ssl.SSLError, OSError):
        raise TlsFileError(setting, "names a file without a certificate in PEM") from None


def _load_pair(made: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        made.load_cert_chain(certificate, key, password=_no_passphrase)
    except _EncryptedError:
        raise TlsFileError("tls_key", "names a key with a passphrase: take it off") from None
    except ssl.SSLError as error:
        if error.reason and error.reason.endswith("_TOO_SMALL"):
            fault = TlsFileError("tls_certificate", "names a certificate with too small a key")
        elif error.reason and "MISMATCH" in error.reason:
            fault = TlsFileError("tls_key", "names a key that does not fit tls_certificate")
        else:
            fault = TlsFileError("tls_key", "names a file without a private key in PEM")
        raise fault from None
    except OSError as error:
        raise TlsFileError("tls_key", f"cannot be read: {error.strerror}") from None


class _EncryptedError(Exception):
    """A key that asks for a passphrase."""


def _no_passphrase() -> str:
    # Without this, the library would ask whoever sits at the terminal.
    raise _EncryptedError


class ReloadableTls:
    """The living context, which takes up renewed files for the connections that come after."""

    def __init__(self, certificate: str, key: str, client_ca: str = "") -> None:
        self._files = certificate, key
        self._loaded = self._stamp()
        self.context = create_context(certificate, key, client_ca)

    def reload_if_changed(self) -> bool:
        """Take up the files if they have changed; what is no use changes nothing, and is logged."""
        stamp = self._stamp()
        if stamp == self._loaded:
            return False
        self._loaded = stamp
        try:
            self._load()
        except TlsFileError as error:
            _LOG.warning("server.%s %s; the last good certificate stays", error.key, error)
            return False
        _LOG.warning("the renewed certificate is in use")
        return True

    def _load(self) -> None:
        # A pair that does not fit would leave the living context without a key: it is tried on
        # another first. The files may be exchanged just between the two.
        for _ in range(_TRIES):
            create_context(*self._files)
            try:
                _load_pair(self.context, *self._files)
            except TlsFileError as error:
                fault = error
            else:
                return
        raise fault

    def _stamp(self) -> tuple[tuple[int, ...], ...]:
        return tuple(map(_file_stamp, self._files))


def _file_stamp(file: str) -> tuple[int, ...]:
    try:
        # Behind links, as Kubernetes has them, it is the file at their end that counts.
        found = os.stat(file)  # noqa: PTH116 - as in `_check_readable`
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


@asynccontextmanager
async def reload_periodically(
    tls: ReloadableTls | None, interval: float = _CHECK_SECONDS
) -> AsyncIterator[None]:
    """Look for renewed files now and then, while a block lasts."""
    if tls is None:
        yield
        return
    task = asyncio.create_task(_reload_loop(tls, interval))
    try:
        yield
    finally:
        task.cancel()


async def _reload_loop(tls: ReloadableTls, interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        tls.reload_if_changed()
