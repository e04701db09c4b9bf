"""Labelled images behind one interface: a folder of class folders, the same inside a zip, embedded glyphs.

Images of one *group* (the frames of one video track, say) show the same thing, so that a support set and
a query set never share a group. In files, a group is recognised by the name `<group>_<frame>`.
"""

import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tinytrain_core.errors import BadImageError, ConfigurationError, DataError, UnsafeArchiveError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp"})
MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 256 * 2**20
RESIZE_RATIO = 256 / 224  # of the short side before the centre crop, as in PMF's test transform
GROUP_PATTERN = re.compile(r"^(?P<group>.+)_\d+$")
FAMILY_SEPARATOR = "__"
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for a bad image


@dataclass(frozen=True)
class ImageClass:
    """A class, and the group that each of its images belongs to."""

    name: str
    groups: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.groups)

    @cached_property
    def distinct_groups(self) -> int:
        return len(set(self.groups))

    @cached_property
    def largest_group(self) -> int:
        return max(Counter(self.groups).values(), default=0)

    @property
    def family(self) -> str:
        """What the class is one of, as an alphabet is for a character: the name's part before `__`."""
        return self.name.split(FAMILY_SEPARATOR)[0] if FAMILY_SEPARATOR in self.name else ""


class ImageSource(Protocol):
    """Where labelled images come from."""

    @property
    def classes(self) -> tuple[ImageClass, ...]: ...

    def load(self, class_index: int, image_index: int, resolution: int, margin: float = RESIZE_RATIO) -> Tensor:
        """One image as uint8 (3, resolution, resolution).

        Args:
            margin: the central square of 1/margin of the short side is what is scaled; 1 takes all of it.

        Raises:
            BadImageError: the file is not an image.
        """
        ...


def decode_image(data: bytes, resolution: int, margin: float = RESIZE_RATIO) -> Tensor:
    """Decode, and scale the central square of 1/margin of the short side: uint8 (3, R, R).

    Raises:
        BadImageError: the bytes are not an image, or one of more than 64 million pixels.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise BadImageError(f"the image has {opened.width} x {opened.height} pixels, limit {MAX_PIXELS}")
            image = opened.convert("RGB")
    except UNREADABLE as error:
        raise BadImageError(f"not a readable image ({len(data)} bytes): {type(error).__name__}") from error
    return scale_image(image, resolution, margin)


def scale_image(image: Image.Image, resolution: int, margin: float = RESIZE_RATIO) -> Tensor:
    """Scale the central square of 1/margin of the short side of an RGB image: uint8 (3, R, R)."""
    # The crop and the scaling in one, so that a long thin image never becomes a large one.
    side = min(image.size) / margin
    left, top = (image.width - side) / 2, (image.height - side) / 2
    image = image.resize((resolution, resolution), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class FileSource:
    """Image files by class, read through `read(path)`."""

    paths: tuple[tuple[str, ...], ...]
    classes: tuple[ImageClass, ...]
    read: Callable[[str], bytes] = field(repr=False)

    def load(self, class_index: int, image_index: int, resolution: int, margin: float = RESIZE_RATIO) -> Tensor:
        try:
            return decode_image(self.read(self.paths[class_index][image_index]), resolution, margin)
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise BadImageError(f"a file cannot be read: {type(error).__name__}") from error


@dataclass(frozen=True)
class Subset:
    """Some images of some classes of a source."""

    source: ImageSource
    classes: tuple[ImageClass, ...]
    indices: tuple[tuple[int, tuple[int, ...]], ...]  # per class: its index in the source, and its images'

    def load(self, class_index: int, image_index: int, resolution: int, margin: float = RESIZE_RATIO) -> Tensor:
        original, images = self.indices[class_index]
        return self.source.load(original, images[image_index], resolution, margin)


def subset(source: ImageSource, images: Mapping[int, tuple[int, ...]]) -> Subset:
    """The part of a source that `images` names: per class, by its index, the images."""
    originals = source.classes
    classes = tuple(
        ImageClass(originals[i].name, tuple(originals[i].groups[k] for k in kept)) for i, kept in images.items()
    )
    return Subset(source, classes, tuple(images.items()))


def _group(name: str) -> str | None:
    """The group that a file's name states, as `<group>_<frame>`."""
    match = GROUP_PATTERN.match(PurePosixPath(name).stem)
    return match["group"] if match else None


def _groups(by_class: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """The group of each file, by class; a file that states none is a group of its own.

    Where no class states more than one, the names are a camera's counter and say nothing of groups.
    """
    stated = {key: [_group(name) for name in names] for key, names in by_class.items()}
    if all(len(set(groups) - {None}) < 2 for groups in stated.values()):
        return {key: tuple(names) for key, names in by_class.items()}
    return {
        key: tuple(name if group is None else group for name, group in zip(by_class[key], groups, strict=True))
        for key, groups in stated.items()
    }


def _file_source(names: list[str], where: str, read: Callable[[str], bytes]) -> FileSource:
    by_class: dict[str, list[str]] = {}
    for name in sorted(names):
        path = PurePosixPath(name)
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
        if path.suffix.lower() in IMAGE_SUFFIXES and len(path.parts) > 1 and not hidden:
            by_class.setdefault(str(path.parent), []).append(name)
    if not by_class:
        raise DataError(f"{where} holds no images; expected CLASS/IMAGE files ending in {sorted(IMAGE_SUFFIXES)}")
    groups = _groups(by_class)
    classes = tuple(ImageClass(PurePosixPath(key).name, groups[key]) for key in by_class)
    return FileSource(tuple(tuple(files) for files in by_class.values()), classes, read)


def folder_source(folder: Path) -> FileSource:
    """A folder of class folders.

    Raises:
        ConfigurationError: there is no such folder.
        DataError: it holds no images.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"no folder at {folder}")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return _file_source(names, str(folder), lambda name: (folder / name).read_bytes())


def _check_member(name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or not path.parts or ".." in path.parts or ":" in path.parts[0]:
        raise UnsafeArchiveError(f"the archive holds a path that escapes its folder: {name!r}")


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > MAX_FILE_BYTES:
        raise BadImageError(f"a file in the archive unpacks to {size} bytes, limit {MAX_FILE_BYTES}")
    return archive.read(name)


def zip_source(file: Path) -> FileSource:
    """A folder of class folders inside a zip, read in place.

    Raises:
        ConfigurationError: there is no such file.
        DataError: it is not a zip, or holds no images.
        UnsafeArchiveError: a member's path escapes.
    """
    if not file.is_file():
        raise ConfigurationError(f"no file at {file}")
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise DataError(f"{file} is not a zip archive") from error
    names = [name for name in archive.namelist() if not name.endswith("/")]
    for name in names:
        _check_member(name)
    return _file_source(names, str(file), lambda name: _read_member(archive, name))
