"""Ed25519 keys of the people who sign releases, as PEM files. A private key need never be on the server."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from server.releases.signing import read_bounded
from tinytrain_core.errors import ConfigurationError, ManifestError, StorageError
from tinytrain_core.files import write_file
from tinytrain_core.release import key_id

PASSPHRASE_VARIABLE = "TINYTRAIN_PASSPHRASE"
_SECRET_MODE = 0o600
_MAX_BYTES = 16 * 2**10
_HEX = re.compile(r"^[0-9a-f]{64}$")


def public_path(private: Path) -> Path:
    """Where the public half of a private key's file is."""
    return private.with_suffix(".pub")


def make_key(file: Path, passphrase: bytes = b"") -> str:
    """Make a key: `file` gets the private half (mode 0600), a file ending in .pub beside it the public half.

    Args:
        passphrase: what the private half is encrypted with; empty leaves it plain.

    Returns:
        The key's id.

    Raises:
        ConfigurationError: one of the files is there already, or they would be the same.
        StorageError: they cannot be written.
    """
    if file == public_path(file):
        raise ConfigurationError(
            f"{file} ends as public keys do; give the private one another name, as {file.stem}.pem"
        )
    for taken in (file, public_path(file)):
        if taken.exists():
            raise ConfigurationError(f"{taken} is there already, and a key is never written over; give another --out")
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    hidden: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    write_file(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden), _SECRET_MODE)
    write_file(public_path(file), public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key_id(public.public_bytes_raw())


def _read(file: Path) -> bytes:
    try:
        return read_bounded(file, _MAX_BYTES, "the key ")
    except (StorageError, ManifestError) as error:  # to whoever names a key, either is a wrong name
        raise ConfigurationError(str(error)) from None


def private_key(file: Path, ask: Callable[[], str]) -> Ed25519PrivateKey:
    """The private key in a PEM file.

    Args:
        ask: gives the passphrase, where the file is encrypted and `TINYTRAIN_PASSPHRASE` is not set.

    Raises:
        ConfigurationError: it cannot be read, is not an Ed25519 key, or the passphrase is wrong.
    """
    data = _read(file)
    encrypted = b"ENCRYPTED" in data
    passphrase = (os.environ.get(PASSPHRASE_VARIABLE) or ask()).encode() if encrypted else None
    try:
        key = load_pem_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        wrong = "the passphrase is wrong, or it is damaged" if encrypted else "it is not a private key in PEM"
        raise ConfigurationError(f"{file} cannot be used to sign: {wrong}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{file} holds another kind of key than Ed25519; make one with release keygen")
    return key


def is_exposed(file: Path) -> bool:
    """Whether others than the owner of a file may read it."""
    return bool(file.stat().st_mode & 0o077)


def public_key(text: str) -> str:
    """A public key in 64 hexadecimal digits, from its PEM file or from those digits themselves.

    Raises:
        ConfigurationError: it cannot be read, or is not a public Ed25519 key.
    """
    if _HEX.match(text):
        return text
    data = _read(Path(text))
    if b"PRIVATE KEY" in data:
        raise ConfigurationError(f"{text} is a private key; keep it off this machine, and give the .pub file beside it")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{text} is not a public key in PEM, nor 64 hexadecimal digits") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"{text} holds another kind of key than Ed25519; make one with release keygen")
    return key.public_bytes_raw().hex()
