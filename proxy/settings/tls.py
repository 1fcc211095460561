"""Server TLS: the SSL context, the validation of its files, and their renewal.

certificate  the chain, in PEM, the server's certificate first
key          its private key, in PEM, without a passphrase
client_ca    the CA of client certificates; with it, a client without a valid one is rejected
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
    """A TLS file cannot be used; `key` is the setting that names it."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def tls_file_errors(certificate: str, key: str, client_ca: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the TLS files: the setting that names the file, and a message."""
    if not certificate:
        yield "tls_certificate", "must be set because tls_key or tls_client_ca is"
    elif not key:
        yield "tls_key", "must be set because tls_certificate is"
    else:
        try:
            create_context(certificate, key, client_ca)
        except TlsFileError as error:
            yield error.key, str(error)


def create_context(certificate: str, key: str, client_ca: str = "") -> ssl.SSLContext:
    """Create the server's SSL context; raises `TlsFileError`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Without this, a client that offers HTTP/2 would not be told that it is not supported.
    context.set_alpn_protocols(["http/1.1"])
    named = (("tls_certificate", certificate), ("tls_key", key), ("tls_client_ca", client_ca))
    for setting, file in named:
        _check_readable(setting, file)
    _check_certificates("tls_certificate", certificate)
    _load_pair(context, certificate, key)
    if client_ca:
        _check_certificates("tls_client_ca", client_ca)
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_readable(setting: str, file: str) -> None:
    if not file:
        return
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - the path may contain a line break
            opened.read(1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise TlsFileError(setting, f"names a file that cannot be read: {reason}") from None


def _check_certificates(setting: str, file: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (ssl.SSLError, OSError):
        raise TlsFileError(setting, "names a file without a certificate in PEM") from None


def _load_pair(target: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        target.load_cert_chain(certificate, key, password=_no_passphrase)
    except _EncryptedError:
        raise TlsFileError(
            "tls_key", "names a key with a passphrase: remove the passphrase"
        ) from None
    except ssl.SSLError as error:
        if error.reason and error.reason.endswith("_TOO_SMALL"):
            failure = TlsFileError("tls_certificate", "names a certificate whose key is too small")
        elif error.reason and "MISMATCH" in error.reason:
            failure = TlsFileError("tls_key", "names a key that does not match tls_certificate")
        else:
            failure = TlsFileError("tls_key", "names a file without a private key in PEM")
        raise failure from None
    except OSError as error:
        raise TlsFileError("tls_key", f"cannot be read: {error.strerror}") from None


class _EncryptedError(Exception):
    """The key has a passphrase."""


def _no_passphrase() -> str:
    # Without this, the library would prompt on the terminal.
    raise _EncryptedError


class ReloadableTls:
    """An SSL context that loads renewed files; they apply to new connections."""

    def __init__(self, certificate: str, key: str, client_ca: str = "") -> None:
        self._files = certificate, key
        self._loaded = self._stamp()
        self.context = create_context(certificate, key, client_ca)

    def reload_if_changed(self) -> bool:
        """Load the files if they have changed; invalid ones are logged and change nothing."""
        stamp = self._stamp()
        if stamp == self._loaded:
            return False
        self._loaded = stamp
        try:
            self._load()
        except TlsFileError as error:
            _LOG.warning("server.%s %s; keeping the previous certificate", error.key, error)
            return False
        _LOG.warning("TLS certificate reloaded")
        return True

    def _load(self) -> None:
        # A pair that does not match would leave the context in use without a key, so it is loaded
        # into another one first. The files may be replaced between the two loads: try again.
        for _ in range(_TRIES):
            create_context(*self._files)
            try:
                _load_pair(self.context, *self._files)
            except TlsFileError as error:
                failure = error
            else:
                return
        raise failure

    def _stamp(self) -> tuple[tuple[int, ...], ...]:
        return tuple(map(_file_stamp, self._files))


def _file_stamp(file: str) -> tuple[int, ...]:
    try:
        # Follow links: Kubernetes replaces the file at their end.
        found = os.stat(file)  # noqa: PTH116 - as in `_check_readable`
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


@asynccontextmanager
async def reload_periodically(
    tls: ReloadableTls | None, interval: float = _CHECK_SECONDS
) -> AsyncIterator[None]:
    """Check for renewed files every `interval` seconds, for the duration of the block."""
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
