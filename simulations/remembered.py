"""What nodes have computed, line by line on the disk, so that a run that was cut short goes on where it was.

A line holds the digest of everything that a reply depends on, and the reply. Only replies of numbers are kept: no
arrays, no errors. They are read again from the file when they are needed; the memory holds where they are.
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from simulations.serving import Reply
from tinytrain_core.errors import StorageError


def name_of(app: str, node: str, kind: str, number: int, content: bytes) -> bytes:
    """What a reply is remembered by.

    Args:
        node: its configuration.
        content: the digest of the message's records.
    """
    return sha256(json.dumps([app, node, kind, number, content.hex()]).encode()).digest()


class Remembered:
    """The replies in a file, and those that are added to it. Use it as a context manager.

    Raises:
        StorageError: the file cannot be read or written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at: dict[bytes, int] = {}
        try:
            self._stream = file.open("ab+")
            self._index()
        except OSError as error:
            raise StorageError(f"cannot open {file}: {error.strerror}") from error

    def __enter__(self) -> "Remembered":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __len__(self) -> int:
        return len(self._at)

    def _index(self) -> None:
        """Note where each whole line is; a torn last one goes."""
        self._stream.seek(0)
        at = 0
        for line in self._stream:
            if not line.endswith(b"\n"):
                break
            try:
                self._at[bytes.fromhex(json.loads(line)[0])] = at
            except (ValueError, LookupError, TypeError):
                break
            at += len(line)
        self._stream.truncate(at)

    def reply(self, name: bytes) -> Reply | None:
        """The reply of that name; None where it is not known."""
        if name not in self._at:
            return None
        self._stream.seek(self._at[name])
        _, reply = json.loads(self._stream.readline())
        return Reply(*reply)

    def keep(self, name: bytes, reply: Reply) -> None:
        """Add a reply; one that is more than numbers and names is not kept."""
        try:
            line = json.dumps([name.hex(), _numbers_only(reply)]) + "\n"
        except TypeError:
            return
        try:
            self._at[name] = self._stream.seek(0, 2)
            self._stream.write(line.encode())
            self._stream.flush()
        except OSError as error:
            raise StorageError(f"cannot write {self._file}: {error.strerror}; free the disk, or --fresh") from error


def _numbers_only(reply: Reply) -> Any:
    """The reply itself; bytes in it, as arrays have, are a TypeError of JSON."""
    return reply
