"""What the names of image sources mean: a scheme, or a path with perhaps a split behind it."""

import os
from pathlib import Path

from tinytrain_core.errors import ConfigurationError

GLYPHS = "glyphs"
TORCHVISION = "torchvision"


def _scheme(data: str) -> str:
    return data.partition(":")[0]


def is_glyphs(data: str) -> bool:
    """Whether `data` names the embedded glyphs and not a path."""
    return _scheme(data) == GLYPHS


def is_file(data: str) -> bool:
    """Whether `data` names a folder or a zip, or a part of one."""
    return _scheme(data) not in (GLYPHS, TORCHVISION)


def _expanded(name: str) -> Path:
    return Path(os.path.expandvars(name)).expanduser()


def expanded_path(name: str) -> Path:
    """The path that `name` says, with `$NAME` taken from the environment and `~` as the home.

    Raises:
        ConfigurationError: a variable is not set.
    """
    path = _expanded(name)
    if "$" in str(path) and not path.exists():
        raise ConfigurationError(f"{path}: an environment variable is not set, or there is no such file")
    return path


def split_path(data: str) -> tuple[Path, str]:
    """The path and the split (or an empty string) that `PATH:SPLIT` or `PATH` names.

    Raises:
        ConfigurationError: an environment variable is not set.
    """
    head, colon, split = data.rpartition(":")
    if colon and len(head) > 1 and not {"/", "\\"} & set(split) and not _expanded(data).exists():
        return expanded_path(head), split
    return expanded_path(data), ""
