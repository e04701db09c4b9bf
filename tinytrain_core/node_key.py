"""The key pair of a node: NIST EC keys in OpenSSH's formats, as Flower's node authentication has them.

A node signs its requests to the SuperLink with the private key; the SuperLink knows the public one.
"""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from tinytrain_core.errors import ConfigurationError

WANTED = "a NIST EC key in OpenSSH format, as `ssh-keygen -t ecdsa -b 384` or `tinytrain-client key` makes it"
MAX_KEY_CHARACTERS = 4_096
_PRIVATE = "PRIVATE KEY-----"


def make_key() -> str:
    """A new private key on the curve P-384: OpenSSH's text, without a passphrase."""
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _openssh(public: ec.EllipticCurvePublicKey) -> str:
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def public_of(private_key: str, where: str = "the private key") -> str:
    """The public key of a private one: one line in OpenSSH format, without a comment.

    Args:
        where: what to call the private key in an error.

    Raises:
        ConfigurationError: it is not an EC key in OpenSSH format, or has a passphrase.
    """
    try:
        key = load_ssh_private_key(private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: a passphrase is missing
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{where} is not {WANTED}, without a passphrase")
    return _openssh(key.public_key())


def parse_public(text: str, where: str) -> str:
    """A public key in the one form in which keys are compared: one line, without a comment.

    Args:
        where: what to call the text in an error.

    Raises:
        ConfigurationError: it is a private key, or not a public key of a NIST curve.
    """
    if _PRIVATE in text:
        raise ConfigurationError(
            f"{where} is a private key, which stays on its device; give the public one, which begins with ecdsa-sha2-"
        )
    try:
        key = load_ssh_public_key(text[:MAX_KEY_CHARACTERS].strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ConfigurationError(f"{where} is not the public key of {WANTED}")
    return _openssh(key)


def public_pem(public_key: str) -> bytes:
    """A public key that `parse_public` gave, in the form in which a SuperLink lists it."""
    key = load_ssh_public_key(public_key.encode())
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
