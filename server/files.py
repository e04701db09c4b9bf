"""Files that are either whole or not there."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinytrain_core.errors import StorageError


def write_file(file: Path, data: bytes) -> None:
    """Write beside the file and rename; folders are made.

    Raises:
        StorageError: it cannot be written; what was there before still is.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StorageError(f"cannot write {len(data)} bytes to {file}: {error.strerror}; give another --out") from error


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Nobody else in `folder`, which is made; a process that dies leaves no lock behind.

    Raises:
        StorageError: another process has it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}; give another --out") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(f"another process is at work in {folder}; wait for it, or give another --out") from None
        yield
