"""Rows of feature maps that are kept: computed once, read at every step.

In full precision, in half, or in bytes with one scale for each image; in memory, or in a memory-mapped file that
has no name, so that nobody can open it and its space is free again when its process dies. Blocks of a disk are not
erased by that; where this matters, the folder belongs on an encrypted one.
"""

import math
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from tinytrain_core.backbones.spec import ConvSpec
from tinytrain_core.errors import StorageError

HALF_LIMIT = 65504.0
BYTE_LIMIT = 127
SCALE_BYTES = 4
ZEROS_AT_ONCE = 2**16


class Place(Enum):
    """Where kept features are."""

    MEMORY = "memory"  # charged to the memory budget
    FILE = "file"  # charged to the storage budget
    NOWHERE = "nowhere"  # computed again at every use


@dataclass(frozen=True)
class Precision:
    """How an element is stored.

    Attributes:
        dtype: None is the backbone's own.
        scale_bytes: of an image's scale.
    """

    dtype: torch.dtype | None
    element_bytes: int
    scale_bytes: int = 0


PRECISIONS = {
    "full": Precision(None, 4),
    "half": Precision(torch.float16, 2),
    "byte": Precision(torch.int8, 1, SCALE_BYTES),
}


def kept_bytes(rows: int, elements: int, precision: str) -> int:
    """Bytes of `rows` feature maps of that many elements each."""
    chosen = PRECISIONS[precision]
    return rows * (elements * chosen.element_bytes + chosen.scale_bytes)


def _mapped(shape: tuple[int, ...], dtype: torch.dtype, folder: Path | None) -> Tensor:
    """A tensor in a file without a name, whose space is taken at once.

    Raises:
        StorageError: the file cannot be made, for instance because the disk is full.
    """
    like = torch.empty(0, dtype=dtype).numpy().dtype
    size = math.prod(shape) * like.itemsize
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            _reserve(file, size)
            return torch.from_numpy(np.memmap(file, dtype=like, mode="r+", shape=shape))
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise StorageError(f"cannot keep {size:,} B of features in {where}: {error.strerror}") from None


def _reserve(file: IO[bytes], size: int) -> None:
    """Take the space now: writing to a mapped file on a full disk would kill the process."""
    zeros = bytes(ZEROS_AT_ONCE)
    for begin in range(0, size, ZEROS_AT_ONCE):
        file.write(zeros[: size - begin])
    file.flush()


@dataclass(frozen=True)
class Shelf:
    """How features are kept.

    Attributes:
        precision: one of `PRECISIONS`.
        folder: of files; by default the system's for temporary ones.
    """

    precision: str = "full"
    folder: Path | None = None

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, place: Place) -> Tensor:
        """Room for a tensor.

        Raises:
            StorageError: there is none.
        """
        if place is Place.FILE:
            return _mapped(shape, dtype, self.folder)
        return torch.empty(shape, dtype=dtype, device=device)


class KeptFeatures:
    """Feature maps (rows, C, H, W) at the input of a convolution.

    Args:
        like: a tensor of the type and on the device that is computed with.

    Raises:
        StorageError: the shelf has no room.
    """

    def __init__(self, rows: int, conv: ConvSpec, shelf: Shelf, place: Place, like: Tensor) -> None:
        self.at, self._like, self._precision = conv.index, like.new_empty(0), PRECISIONS[shelf.precision]
        shape = (rows, conv.in_size, conv.in_size, conv.in_channels)
        self._maps = shelf.tensor(shape, self._precision.dtype or like.dtype, like.device, place)
        scaled = self._precision.scale_bytes > 0
        self._scales = shelf.tensor((rows,), torch.float32, like.device, place) if scaled else None

    def write(self, first: int, features: Tensor) -> None:
        """Keep features (n, C, H, W) as rows `first` to `first + n - 1`."""
        last = first + len(features)
        values = features.permute(0, 2, 3, 1)
        if self._scales is not None:
            peak = values.flatten(1).abs().amax(1).div_(BYTE_LIMIT).clamp_min_(torch.finfo(torch.float32).tiny)
            self._scales[first:last] = peak
            values = (values / peak[:, None, None, None]).round_()
        elif self._precision.dtype is torch.float16:
            values = values.clamp(-HALF_LIMIT, HALF_LIMIT)
        self._maps[first:last].copy_(values)

    def read(self, first: int, last: int) -> Tensor:
        """Rows `first` to `last - 1` as channels-last (n, C, H, W)."""
        values = self._maps[first:last].to(self._like)
        if self._scales is not None:
            values *= self._scales[first:last].to(self._like)[:, None, None, None]
        return values.permute(0, 3, 1, 2)
