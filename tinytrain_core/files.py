"""Files that are either whole or not there, also after a power cut, and folders that one process has."""

import fcntl
import glob
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, TextIO

from tinytrain_core.errors import StorageError

_NUMBERS = count(1)  # of this process's partial files


class InUseError(StorageError):
    """Another process has a folder."""


def _flush_folder(folder: Path) -> None:
    """Make a rename durable where folders can be opened (not on Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(file: Path, flags: int, wait: bool, mode: int = 0o666) -> int | None:
    """A descriptor of `file`, locked; None where another process has it locked, or has just removed it."""
    descriptor = os.open(file, flags, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except OSError as error:
        if wait and not isinstance(error, BlockingIOError):
            return descriptor  # a file system without locks: then nothing is taken for stale either
    os.close(descriptor)
    return None


def remove_partials(files: Iterable[Path]) -> None:
    """Remove what processes that have died left half written; what one is writing is locked and stays.

    Raises:
        OSError: one cannot be removed.
    """
    for file in files:
        try:
            descriptor = _locked(file, os.O_RDWR, wait=False)
        except FileNotFoundError:
            continue
        if descriptor is not None:
            try:
                file.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _partial(file: Path, mode: int) -> tuple[Path, int]:
    """A new file beside `file`, of this process alone, and its descriptor."""
    while True:
        partial = file.with_name(f".{file.name}.{os.getpid()}-{next(_NUMBERS)}.partial")
        with suppress(FileExistsError):  # of a process that had this number before
            if (found := _locked(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, wait=True, mode=mode)) is not None:
                return partial, found


@contextmanager
def replacing(file: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A stream beside `file`, which takes its place when the block ends without an error.

    Several processes may do so at once: one of their files is then in place, and whole.

    Args:
        mode: the file's permissions, less the process's umask; 0o600 for a secret.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        remove_partials(file.parent.glob(f".{glob.escape(file.name)}.*partial"))
    partial, descriptor = _partial(file, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            partial.replace(file)  # while it is locked
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
        BlockingIOError: somebody still has it after `wait_s` seconds.
        OSError: it cannot be locked.
    """
    give_up = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                raise
        time.sleep(0.02)


@contextmanager
def exclusive(folder: Path, wait_s: float = 0) -> Iterator[None]:
    """Nobody else in `folder`, which is made; a process that dies leaves no lock behind.

    Args:
        wait_s: seconds to wait for another process that has it.

    Raises:
        InUseError: another process has it.
        StorageError: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}; give another place") from error
    with lock:
        try:
            _take(lock, wait_s)
        except BlockingIOError:
            raise InUseError(f"another process is at work in {folder}; wait for it, or give another place") from None
        except OSError as error:
            raise StorageError(f"cannot lock {folder}: {error.strerror}; give another place") from error
        yield
