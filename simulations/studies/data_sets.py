"""The data of a study by label: the sets that have a name, and `LABEL=DATA` for any other."""

from collections.abc import Iterable
from dataclasses import dataclass

from server.evaluation import labelled, labelled_data
from tinytrain_core.errors import ConfigurationError


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
