"""Files that are either whole or not there, also after a power cut, and folders that one process has."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from tinytrain_core.errors import StorageError


def _flush_folder(folder: Path) -> None:
    """Make a rename durable where folders can be opened (not on Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(file: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A stream beside `file`, which takes its place when the block ends without an error.

    Args:
        mode: the file's permissions, less the process's umask; 0o600 for a secret.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    partial = file.with_name(f".{file.name}.partial")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
        _flush_folder(file.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_file(file: Path, data: bytes, mode: int = 0o666) -> None:
    """Write beside the file, flush to the disk, rename over it; folders are made.

    Raises:
        StorageError: it cannot be written; what was there before still is.
    """
    try:
        with replacing(file, mode) as stream:
            stream.write(data)
    except OSError as error:
        raise StorageError(
            f"cannot write {len(data)} bytes to {file}: {error.strerror}; free the disk, or give another place"
        ) from error


def _take(lock: TextIO, wait_s: float) -> None:
    """Lock a file, or wait for whoever has it.

    Raises:
        OSError: somebody still has it after `wait_s` seconds.
    """
    give_up = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= give_up:
                raise
        time.sleep(0.02)


@contextmanager
def exclusive(folder: Path, wait_s: float = 0) -> Iterator[None]:
    """Nobody else in `folder`, which is made; a process that dies leaves no lock behind.

    Args:
        wait_s: seconds to wait for another process that has it.

    Raises:
        StorageError: another process has it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}; give another place") from error
    with lock:
        try:
            _take(lock, wait_s)
        except OSError:
            raise StorageError(f"another process is at work in {folder}; wait for it, or give another place") from None
        yield
