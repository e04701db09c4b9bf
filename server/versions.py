"""The versions that a run or a backbone was made with."""

import platform
from importlib.metadata import version

PACKAGES = ("tinytrain-fleet", "numpy", "torch")


def versions(*more: str) -> dict[str, str]:
    """The versions of Python, of what every number depends on, and of the packages in `more`."""
    return {name: version(name) for name in sorted((*PACKAGES, *more))} | {"python": platform.python_version()}
