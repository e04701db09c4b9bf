"""Images for devices of tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, classes: int, images: int, prefix: str = "class") -> Path:
    """A folder of class folders with small images, each class in a colour of its own."""
    rng = np.random.default_rng(classes)
    for label in range(classes):
        (folder / f"{prefix}{label}").mkdir(parents=True)
        for number in range(images):
            pixels = np.clip(rng.normal(60 + 60 * label, 30, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{prefix}{label}" / f"{chr(97 + number)}.png")
    return folder
