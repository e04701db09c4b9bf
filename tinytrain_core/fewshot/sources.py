"""Image sources by name: `glyphs:SPLIT`, `torchvision:NAME:SPLIT`, a zip or a folder, `PATH:SPLIT` for a part of it.

The parts of a zip or a folder are those that its `splits.json` lists: `{"train": ["class", ...], ...}`.
"""

import json
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from torch import Tensor

from tinytrain_core.errors import BadImageError, ConfigurationError, DataError
from tinytrain_core.fewshot.datasets import (
    RESIZE_RATIO,
    FileSource,
    ImageClass,
    ImageSource,
    folder_source,
    subset,
    zip_source,
)
from tinytrain_core.fewshot.names import GLYPHS as GLYPHS
from tinytrain_core.fewshot.names import TORCHVISION
from tinytrain_core.fewshot.names import expanded_path as expanded_path
from tinytrain_core.fewshot.names import is_file as is_file
from tinytrain_core.fewshot.names import is_glyphs as is_glyphs
from tinytrain_core.fewshot.names import split_path as split_path

SPLITS_FILE = "splits.json"


@lru_cache(maxsize=8)
def _zip_at(file: Path, modified_ns: int, size: int) -> FileSource:
    """One open archive for all who read the same unchanged file; the stamp is only there to tell it apart."""
    return zip_source(file)


def _shared_zip(file: Path) -> FileSource:
    if not file.is_file():
        return zip_source(file)
    stamp = file.stat()
    return _zip_at(file.resolve(), stamp.st_mtime_ns, stamp.st_size)


def _split_classes(source: FileSource, where: Path, split: str) -> set[str]:
    """The names of the classes that `splits.json` lists for `split`."""
    try:
        splits = json.loads(source.read(SPLITS_FILE))
    except (OSError, KeyError, BadImageError):
        raise ConfigurationError(f"{where} has no {SPLITS_FILE}, so there is no split {split!r} of it") from None
    except ValueError as error:
        raise DataError(f"{SPLITS_FILE} in {where} is not JSON: {error}") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{SPLITS_FILE} in {where} cannot be read: {error}") from None
    if not isinstance(splits, dict) or not isinstance(splits.get(split), list):
        known = ", ".join(map(str, splits)) if isinstance(splits, dict) else "none"
        raise ConfigurationError(f"{where} has no split {split!r}; its splits are {known}")
    return set(map(str, splits[split]))


def _split_source(source: FileSource, where: Path, split: str) -> ImageSource:
    wanted = _split_classes(source, where, split)
    if absent := sorted(wanted - {c.name for c in source.classes}):
        raise DataError(
            f"{SPLITS_FILE} in {where} lists {len(wanted)} classes for {split!r}, {len(absent)} of them are not there: "
            + ", ".join(absent[:5])
        )
    images = {i: tuple(range(c.size)) for i, c in enumerate(source.classes) if c.name in wanted}
    return subset(source, images)


def open_source(data: str, writer: int | None = None, seed: int = 0) -> ImageSource:
    """The source that `data` names.

    Args:
        data: `glyphs`, `glyphs:SPLIT`, `torchvision:NAME`, `torchvision:NAME:SPLIT`, a zip file, a folder, or
            either followed by `:SPLIT`.
        writer: for glyphs, whose hand the characters are in; None draws a new hand for every image.
        seed: for glyphs, which population of writers.

    Raises:
        ConfigurationError: there is no such file, data set or split.
        DataError: it holds no images, or not those of its `splits.json`.
        UnsafeArchiveError: a path in the archive escapes.
    """
    scheme, _, rest = data.partition(":")
    if scheme == GLYPHS:
        try:
            from tinytrain_core.fewshot.glyphs import GlyphSource  # matplotlib, which a device does not need
        except ImportError as error:
            raise ConfigurationError(f"glyphs cannot be drawn ({error}): pip install matplotlib") from None

        return GlyphSource(rest or "test", writer=writer, seed=seed)
    if scheme == TORCHVISION:
        from tinytrain_core.fewshot.torchvision_source import torchvision_source  # an extra of its own

        return torchvision_source(*rest.partition(":")[::2])
    path, split = split_path(data)
    source = _shared_zip(path) if path.suffix.lower() == ".zip" else folder_source(path)
    return _split_source(source, path, split) if split else source


@dataclass(frozen=True)
class Joined:
    """The classes of several sources, one after the other."""

    sources: tuple[ImageSource, ...]
    classes: tuple[ImageClass, ...]
    ends: tuple[int, ...]  # the number of classes up to and with each source

    def load(self, class_index: int, image_index: int, resolution: int, margin: float = RESIZE_RATIO) -> Tensor:
        position = bisect_right(self.ends, class_index)
        first = self.ends[position - 1] if position else 0
        return self.sources[position].load(class_index - first, image_index, resolution, margin)


def join(sources: Sequence[ImageSource]) -> ImageSource:
    """Several sources as one."""
    if len(sources) == 1:
        return sources[0]
    classes = tuple(c for source in sources for c in source.classes)
    return Joined(tuple(sources), classes, tuple(accumulate(len(source.classes) for source in sources)))
