"""Following a file that another process writes, over its being emptied or replaced."""

from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 2**20  # at a time


@dataclass
class Tail:
    """Reads the lines that come to stand in `file` from now on.

    Attributes:
        position: bytes that were read; None until the file was first seen.
    """

    file: Path
    position: int | None = None
    inode: int = 0

    def lines(self) -> list[str]:
        """The whole lines since the last call; at the first call none, wherever the file ends."""
        try:
            status = self.file.stat()
        except OSError:
            self.position = 0
            return []
        if self.position is None:
            self.position, self.inode = status.st_size, status.st_ino
            return []
        if status.st_ino != self.inode or status.st_size < self.position:
            self.position, self.inode = 0, status.st_ino
        with self.file.open("rb") as stream:
            stream.seek(self.position)
            data = stream.read(MOST_BYTES)
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) == MOST_BYTES:
            whole = data
        self.position += len(whole)
        return whole.decode(errors="replace").splitlines()
