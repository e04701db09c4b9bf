"""Small pictures in class folders: noise of a brightness that tells the classes apart."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tinytrain_core.seeds import generator


def picture(number: int, brightness: int, side: int = 24, grey: bool = False) -> bytes:
    """A PNG file."""
    shape = (side, side) if grey else (side, side, 3)
    pixels = generator(number, brightness).integers(brightness, brightness + 100, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_pictures(root: Path, sizes: Mapping[str, int], side: int = 24, grey: bool = False) -> Path:
    """A folder of class folders."""
    for rank, (name, size) in enumerate(sizes.items()):
        (root / name).mkdir(parents=True)
        for i in range(size):
            (root / name / f"{i:03d}.png").write_bytes(picture(i, 17 * rank % 150, side, grey))
    return root


def zipped(folder: Path) -> Path:
    """The folder as a zip beside it."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            out.write(file, file.relative_to(folder))
    return archive
