"""A private key that the tests make for themselves: none stands in a file."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PLACE = "(private key)"
"""What stands in a transcript where the key's text goes."""


@cache
def rsa_key() -> RSAPrivateKey:
    """Make the key, once."""
    return generate_private_key(public_exponent=65537, key_size=2048)


@cache
def rsa_pem() -> str:
    """Write it as PEM."""
    pem = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()
