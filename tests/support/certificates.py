"""Certificates that the tests make for themselves: an authority, and what it signs."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

_DAY = dt.timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and of its key, and what tells it from others."""

    certificate: Path
    key: Path
    serial: int


@dataclass
class Authority:
    """Signs certificates for 127.0.0.1 and localhost, and keeps all in a folder."""

    folder: Path
    name: str = "authority"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        basic = x509.BasicConstraints(ca=True, path_length=None)
        made = self._builder(self.name, self.key).add_extension(basic, critical=True)
        self.certificate = self.folder / f"{self.name}.pem"
        signed = made.sign(self.key, hashes.SHA256())
        self.certificate.write_bytes(signed.public_bytes(Encoding.PEM))

    def sign(self, name: str, passphrase: bytes = b"") -> Pair:
        """Make a pair; one of the same name is replaced."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        )
        signed = (
            self._builder(name, key)
            .add_extension(names, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key", signed.serial_number)
        pair.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        lock: KeySerializationEncryption = NoEncryption()
        if passphrase:
            lock = BestAvailableEncryption(passphrase)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
        pair.key.write_bytes(pem)
        return pair

    def trusting(self, client: Pair | None = None) -> ssl.SSLContext:
        """Make what a client encrypts with that trusts this authority."""
        made = ssl.create_default_context(cafile=str(self.certificate))
        if client:
            made.load_cert_chain(client.certificate, client.key)
        return made

    def _builder(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
        )


def self_signed(folder: Path) -> Path:
    """Write a self-signed certificate for 127.0.0.1 and its key to one file; return its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("easel test")
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        made.public_bytes(Encoding.PEM)
        + key.private_bytes(
            Encoding.PEM,
            PrivateFormat.PKCS8,
            NoEncryption(),
        )
    )
    return file
