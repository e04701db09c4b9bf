"""Who a node is to its server: an elliptic curve key, with which it signs the time of every request."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.hazmat.primitives.serialization.ssh import load_ssh_private_key

from tinytrain_core.errors import ConfigurationError


@dataclass(frozen=True)
class Identity:
    """A node's key."""

    key: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> bytes:
        """What the server knows it by, in PEM."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, text: str) -> bytes:
        """An ECDSA signature with SHA-256."""
        return self.key.sign(text.encode("ascii"), ec.ECDSA(hashes.SHA256()))


def load_identity(file: Path) -> Identity:
    """The node's private key.

    Raises:
        ConfigurationError: there is no such file, or it is not an OpenSSH key on an elliptic curve.
    """
    try:
        key = load_ssh_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"the key {file} cannot be read: {error}; enrol the device again") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"the key {file} is not on an elliptic curve; enrol the device again")
    return Identity(key)
