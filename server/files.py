"""Files that are either whole or not there."""

from contextlib import suppress
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
