"""A disk that fails when the tests want it to."""

import errno
import os
from collections.abc import Callable
from pathlib import Path


def full_for(name: str) -> Callable[[int], None]:
    """An `os.fsync` to which the disk is full for files with `name` in their path."""
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        if name in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    return fsync
