"""A device's memory: backbones by digest, and the current delta of each device.

Whatever is read is checked against the SHA-256 that it is filed under; a damaged file counts as not held, and
is fetched or made again. A write is seen whole or not at all, also after a power cut. A node holds its store's lock
(`files.exclusive`) as long as it runs, and `tinytrain-client personalise` while it works, so that a device's delta and
the report on it belong together.
"""

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tinytrain_core.digests import digest
from tinytrain_core.errors import BackboneError, StorageError
from tinytrain_core.files import remove_partials, write_file

_DIGEST_BYTES = 64  # hexadecimal SHA-256 in front of a delta


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {file}: {error.strerror}") from error


def _linked(pooled: Path, file: Path, data: bytes) -> bool:
    """Make `file` a hard link to `pooled`, which gets `data` unless it has them; whether the file system could."""
    for _ in range(2):
        if _read(pooled) != data:
            write_file(pooled, data)
        link = file.with_name(f".{file.name}.{os.getpid()}.link")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.hardlink_to(pooled)
            link.replace(file)
            link.unlink(missing_ok=True)  # where both were the same file already, it is still there
            return True
        except OSError:  # too many links to one file: the pool gets another
            with suppress(OSError):
                pooled.unlink(missing_ok=True)
    return False


@dataclass(frozen=True)
class Store:
    """The files under `folder`, which is made when something is first written.

    Every method raises StorageError where the disk fails.

    Attributes:
        pool: a folder of backbones that the stores of one machine share: each store that holds one has a hard link to
            it, so that it takes room once.
    """

    folder: Path
    pool: Path | None = field(default=None, kw_only=True)

    def scratch(self) -> Path:
        """The folder itself, made now: a place for files without names."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the folder {self.folder}: {error.strerror}") from error
        return self.folder

    def _backbone_file(self, backbone: str) -> Path:
        return self.folder / "backbones" / f"{backbone}.safetensors"

    def _delta_file(self, device: int, backbone: str) -> Path:
        return self.folder / "deltas" / str(device) / f"{backbone}.delta"

    def save_backbone(self, backbone: str, data: bytes) -> None:
        """File `data` under its digest.

        Raises:
            BackboneError: the data has another digest.
        """
        if digest(data) != backbone:
            raise BackboneError(f"the backbone's {len(data)} bytes have digest {digest(data)}, announced {backbone}")
        file = self._backbone_file(backbone)
        if self.pool is None or not _linked(self.pool / file.name, file, data):
            write_file(file, data)

    def backbone(self, backbone: str) -> bytes | None:
        """The backbone with that digest; None if it is not held, or damaged."""
        data = _read(self._backbone_file(backbone))
        return data if data is not None and digest(data) == backbone else None

    def backbones(self) -> list[str]:
        """The digests of the backbones that are held undamaged."""
        names = sorted(file.stem for file in self.folder.glob("backbones/*.safetensors"))
        return [name for name in names if self.backbone(name) is not None]

    def prune(self, keep: Collection[str]) -> None:
        """Remove backbones and deltas of digests that are not in `keep`, and what a power cut left half written."""
        try:
            files = [*self.folder.glob("backbones/*"), *self.folder.glob("deltas/*/*")]
            remove_partials(file for file in files if file.name.startswith("."))
            for file in (file for file in files if not file.name.startswith(".") and file.stem not in keep):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove old files below {self.folder}: {error.strerror}") from error

    def save_delta(self, device: int, backbone: str, data: bytes) -> None:
        """Make `data` the device's current delta for that backbone."""
        write_file(self._delta_file(device, backbone), digest(data).encode("ascii") + data)

    def delta(self, device: int, backbone: str) -> bytes | None:
        """The device's delta for that backbone; None if it uses the base, or the file is damaged."""
        stored = _read(self._delta_file(device, backbone))
        if stored is None:
            return None
        announced, data = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        return data if digest(data).encode("ascii") == announced else None

    def deltas(self, device: int) -> list[str]:
        """The digests of the backbones that the device holds an undamaged delta for."""
        names = sorted(file.stem for file in self.folder.glob(f"deltas/{device}/*.delta"))
        return [name for name in names if self.delta(device, name) is not None]

    def drop_delta(self, device: int, backbone: str) -> None:
        """Let the device use the base backbone."""
        file = self._delta_file(device, backbone)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {file}: {error.strerror}") from error
