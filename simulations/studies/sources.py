"""A digest of the code that trials are made with."""

from functools import cache
from hashlib import sha256
from pathlib import Path

import simulations
import tinytrain_core

PACKAGES = (simulations, tinytrain_core)


def _folder(file: str | None) -> Path:
    return Path(file or "").parent


@cache
def sources_digest() -> str:
    """The sha256 of all Python files of the core and of the simulator, with their names."""
    found = sha256()
    for folder in (_folder(package.__file__) for package in PACKAGES):
        for file in sorted(folder.rglob("*.py")):
            found.update(f"{folder.name}/{file.relative_to(folder).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()
