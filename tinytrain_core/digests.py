"""The name of a file by its content."""

import hashlib


def digest(data: bytes) -> str:
    """The SHA-256 of a backbone's file, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
