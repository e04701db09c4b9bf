"""The data of a study by label: the sets that have a name, and `LABEL=DATA` for any other."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from server.backbones.evaluation import labelled, labelled_data
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.sources import is_file, is_glyphs, split_path
from tinytrain_core.fewshot.torchvision_source import DATA_SETS


@dataclass(frozen=True)
class KnownData:
    """A set that torchvision has: what it is tested on, and what learning rates of other sets are chosen on."""

    test: str
    validation: str


# No set chooses its own rates, so that a test part may serve the others where what is left has few images of a class.
KNOWN = {
    "Omniglot": KnownData("torchvision:Omniglot:evaluation", "torchvision:Omniglot:background"),
    "GTSRB": KnownData("torchvision:GTSRB:test", "torchvision:GTSRB:train"),
    "Aircraft": KnownData("torchvision:FGVCAircraft:test", "torchvision:FGVCAircraft:trainval"),
    "Flower": KnownData("torchvision:Flowers102:test", "torchvision:Flowers102:test"),
    "DTD": KnownData("torchvision:DTD:test", "torchvision:DTD:train"),
}
FOLDER_ONLY = {
    "CUB": "the images/ folder of CUB-200-2011",
    "QuickDraw": "a folder of drawings, rendered as pictures, for each category",
    "Fungi": "the images/ folder of FGVCx Fungi",
    "COCO": "a folder of crops, cut out at their boxes, for each category",
}
SPLIT_PARTS = {"trainval": ("trainval", "train", "val")}
OTHER_CLASSES = "other classes of the same set"
OTHER_PART = "another part of the same set"
DEFAULT_DATA = ("Omniglot", "GTSRB")


def _check_named(text: str) -> None:
    if text in FOLDER_ONLY:
        raise ConfigurationError(
            f"{text} cannot be downloaded; give its folder or zip, a folder of images for each class, "
            f"as {text}=PATH ({FOLDER_ONLY[text]})"
        )


def _labelled_text(text: str, names: dict[str, str]) -> str:
    """`LABEL=DATA`, also for what was given by a name alone."""
    _check_named(text)
    return f"{text}={names[text]}" if text in names else text


def tested_data(texts: Iterable[str]) -> dict[str, str]:
    """What is tested on, by label.

    Raises:
        ConfigurationError: two sets have one label, or a set that has to be given by its folder has none.
    """
    names = {name: known.test for name, known in KNOWN.items()}
    return labelled_data([_labelled_text(text, names) for text in texts])


def validation_data(texts: Iterable[str], tested: Iterable[str]) -> dict[str, str]:
    """What learning rates are chosen on, by label; by default the validation parts of the `tested` sets that have one.

    Raises:
        ConfigurationError: as `tested_data`.
    """
    names = {name: known.validation for name, known in KNOWN.items()}
    return labelled_data([_labelled_text(text, names) for text in list(texts) or [t for t in tested if t in names]])


def labelled_files(texts: Iterable[str]) -> dict[str, str]:
    """Backbones by label.

    Raises:
        ConfigurationError: two have one label.
    """
    pairs = [labelled(text) for text in texts]
    if len(dict(pairs)) < len(pairs):
        raise ConfigurationError(f"backbones need labels of their own, these are {', '.join(p[0] for p in pairs)}")
    return dict(pairs)


class Part(NamedTuple):
    """What `open_source` would open: a set, and the part of it that has a name; without one it is the whole."""

    where: str
    split: str


def part_of(data: str) -> Part:
    """The same for every name of the same data; a path that cannot be expanded is only that of its own name."""
    if is_glyphs(data):
        scheme, _, split = data.partition(":")
        return Part(scheme, split or "test")
    if not is_file(data):
        scheme, name, split = (*data.split(":", 2), "", "")[:3]
        return Part(f"{scheme}:{name}", split or next(iter(DATA_SETS.get(name, ())), ""))
    try:
        path, split = split_path(data)
    except ConfigurationError:
        return Part(data, "")
    return Part(str(path.resolve()), split)


def overlap(data: str, other: str) -> bool:
    """Whether two names are of the same set and the same part of it, or one of them of the whole."""
    one, two = part_of(data), part_of(other)
    return one.where == two.where and not _apart(one.split, two.split)


def _apart(split: str, other: str) -> bool:
    """Whether two parts of a set, or the whole, have nothing in common: trainval is both train and val."""
    parts = (set(SPLIT_PARTS.get(name, (name,))) for name in (split, other))
    return bool(split and other) and not set.intersection(*parts)


def relation(data: str, other: str) -> str:
    """What two names that do not overlap have to do with each other; empty where it is nothing."""
    if part_of(data).where != part_of(other).where:
        return ""
    return OTHER_CLASSES if is_file(data) or is_glyphs(data) else OTHER_PART
