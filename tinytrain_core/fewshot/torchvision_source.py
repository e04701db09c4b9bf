"""torchvision's classification data sets as image sources: `torchvision:NAME` or `torchvision:NAME:SPLIT`.

Files are looked for in `$TINYTRAIN_DATA/torchvision`, or in `~/.cache/tinytrain/torchvision` where that variable is
not set, and downloaded by torchvision where they are not there.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path, PurePath
from tarfile import TarError
from typing import Any

import numpy as np
from torch import Tensor

from tinytrain_core.errors import BadImageError, ConfigurationError
from tinytrain_core.fewshot.datasets import FAMILY_SEPARATOR, RESIZE_RATIO, UNREADABLE, ImageClass, scale_image
from tinytrain_core.fewshot.torchvision_import import torchvision_datasets

FOLDER_VARIABLE = "TINYTRAIN_DATA"
FAILURES = (OSError, RuntimeError, ValueError, AssertionError, EOFError, HTTPException, TarError)
SAMPLES = ("_samples", "_flat_character_images")  # what data sets call their (file, label)
LABELS = ("targets", "labels", "_labels", "y")  # what the others call their labels
TRACKED = "GTSRB"  # whose files are named TRACK_FRAME

Splits = Mapping[str, Mapping[str, Any]]  # the arguments that each split stands for; the first is the default


def _named(*splits: str) -> Splits:
    return {split: {"split": split} for split in splits}


_WHOLE: Splits = {"all": {}}
_PARTS: Splits = {"train": {"train": True}, "test": {"train": False}}
_EMNIST: Splits = {
    f"{subset}-{part}": {"split": subset, **argument}
    for subset in ("balanced", "byclass", "bymerge", "letters", "digits", "mnist")
    for part, argument in _PARTS.items()
}
DATA_SETS: Mapping[str, Splits] = {
    **dict.fromkeys(("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "USPS"), _PARTS),
    **dict.fromkeys(("Food101", "GTSRB", "STL10", "StanfordCars"), _named("train", "test")),
    **dict.fromkeys(("DTD", "Flowers102"), _named("train", "val", "test")),
    **dict.fromkeys(("Caltech101", "Caltech256", "EuroSAT"), _WHOLE),
    "Country211": _named("train", "valid", "test"),
    "EMNIST": _EMNIST,
    "FGVCAircraft": _named("trainval", "train", "val", "test"),
    "Imagenette": _named("train", "val"),
    "Omniglot": {"background": {"background": True}, "evaluation": {"background": False}},
    "OxfordIIITPet": _named("trainval", "test"),
    "SVHN": _named("train", "test", "extra"),
}


@dataclass(frozen=True)
class TorchvisionSource:
    """A data set's images by class.

    Attributes:
        data_set: gives (PIL image, label) at an index.
        indices: per class, where its images are in the data set.
    """

    data_set: Any = field(repr=False)
    classes: tuple[ImageClass, ...]
    indices: tuple[tuple[int, ...], ...] = field(repr=False)

    def load(self, class_index: int, image_index: int, resolution: int, margin: float = RESIZE_RATIO) -> Tensor:
        try:
            image = self.data_set[self.indices[class_index][image_index]][0].convert("RGB")
        except UNREADABLE as error:
            raise BadImageError(f"an image of the data set cannot be read: {type(error).__name__}") from error
        return scale_image(image, resolution, margin)


def _root() -> Path:
    return Path(os.environ.get(FOLDER_VARIABLE) or "~/.cache/tinytrain").expanduser() / "torchvision"


def _open(name: str, split: str, root: Path) -> Any:
    """The data set, downloaded if it is not there."""
    kind = getattr(torchvision_datasets(), name)
    arguments = DATA_SETS[name][split]
    try:
        try:
            return kind(root, download=False, **arguments)
        except (OSError, RuntimeError):
            return kind(root, download=True, **arguments)
    except ImportError as error:
        raise ConfigurationError(f"{name} cannot be read ({error}): pip install 'tinytrain-fleet[train]'") from None
    except FAILURES as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(
            f"torchvision:{name}:{split} is not (whole) in {root} and could not be downloaded ({reason}); put its "
            f"files there, or set {FOLDER_VARIABLE} to the folder whose torchvision/ has them"
        ) from None


def _samples(data_set: Any) -> list[tuple[str, int]]:
    """The file, or else the number, of each image and its label; no image is decoded."""
    for attribute in SAMPLES:
        if hasattr(data_set, attribute):
            return [(str(file), int(label)) for file, label in getattr(data_set, attribute)]
    labels = next(getattr(data_set, attribute) for attribute in LABELS if hasattr(data_set, attribute))
    return [(f"{index:08d}", label) for index, label in enumerate(np.asarray(labels).tolist())]


def _names(data_set: Any) -> list[str]:
    """The names of the classes, or none; of several for one class the first, and of characters ALPHABET__CHARACTER."""
    if hasattr(data_set, "_characters"):
        return [FAMILY_SEPARATOR.join(PurePath(name).parts) for name in data_set._characters]
    names = getattr(data_set, "classes", None) or getattr(data_set, "categories", [])
    return [name if isinstance(name, str) else name[0] for name in names]


def _group(name: str, file: str) -> str:
    """The track that a file is of; elsewhere an image is a group of its own."""
    return PurePath(file).stem.rpartition("_")[0] or file if name == TRACKED else file


@lru_cache(maxsize=4)  # all simulated users of a data set share one copy
def _source(name: str, split: str, root: Path) -> TorchvisionSource:
    """The data set, with classes and files in order of their names, which is the same on every file system."""
    data_set = _open(name, split, root)
    names = _names(data_set)
    by_class: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for index, (file, label) in enumerate(_samples(data_set)):
        title = names[label] if label < len(names) else f"{label:03d}"
        by_class.setdefault((title, label), []).append((file, index))
    ordered = [(title, sorted(images)) for (title, _), images in sorted(by_class.items())]
    classes = tuple(ImageClass(title, tuple(_group(name, file) for file, _ in images)) for title, images in ordered)
    return TorchvisionSource(data_set, classes, tuple(tuple(index for _, index in images) for _, images in ordered))


def torchvision_source(name: str, split: str) -> TorchvisionSource:
    """A data set of torchvision.

    Args:
        name: as torchvision's class is called.
        split: of those in `DATA_SETS`; an empty string takes the first.

    Raises:
        ConfigurationError: there is no such data set or split, torchvision is not installed, or the files are
            neither there nor can they be downloaded.
    """
    if name not in DATA_SETS:
        raise ConfigurationError(f"torchvision:{name} is not known; choose one of {', '.join(sorted(DATA_SETS))}")
    splits = DATA_SETS[name]
    if split and split not in splits:
        raise ConfigurationError(f"torchvision:{name} has no split {split!r}; its splits are {', '.join(splits)}")
    return _source(name, split or next(iter(splits)), _root())
