"""Private images of simulated people, as the files that a device has."""

from pathlib import Path

from PIL import Image

from tinytrain_core.fewshot.glyphs import GlyphSource

LABEL = "kept-at-home"  # in the name of every class


def write_images(folder: Path, writer: int, classes: int = 5, images: int = 10) -> Path:
    """A folder of class folders with one writer's characters, PNG files of 64 pixels a side."""
    source = GlyphSource(split="test", writer=writer)
    for number in range(classes):
        index = (writer * classes + number) % len(source.classes)
        place = folder / f"{LABEL}-{number}"
        place.mkdir(parents=True)
        for image in range(images):
            pixels = source.load(index, image, 64).permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(place / f"{image}.png")
    return folder
