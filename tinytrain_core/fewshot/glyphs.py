"""The embedded data: characters of many scripts, drawn from matplotlib's fonts in the hand of a writer.

A class is a character, a group is a typeface, and a writer has a slant, a weight, a size, an ink, a paper
and a noise of their own, so that users differ. Scripts are split: those that a backbone is meta-trained on
are never those that a simulated user has. Characters that look alike are kept only once.
"""

import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.datasets import FAMILY_SEPARATOR, ImageClass
from tinytrain_core.fewshot.handwriting import Hand, draw_hand, jitter_hand, write
from tinytrain_core.seeds import Draw, generator

SPLITS = {
    "train": ("latin", "symbol"),
    "validation": ("cyrillic",),
    "test": ("greek", "georgian", "armenian", "lao"),
}
CHOOSING_ORDER = ("test", "validation", "train")
MIN_FACES = 8
MASK_SIZE = 96
GLYPH_SIZE = 66  # the longer side of a character within its mask
LOOKALIKE_SIZE = 24
LOOKALIKE_CORRELATION = 0.92  # at most, between two characters of one split
CROSS_SPLIT_CORRELATION = 0.88  # and of two splits
IMAGES_PER_FACE = 2
WRITER_ECCENTRICITY = 1.0  # a user's hand differs more than those that a backbone is meta-trained on
# Faces that map ordinary code points to placeholders, size variants or private symbols.
EXCLUDED_FACES = ("LastResort", "STIXNonUni", "STIXSiz", "cmex", "cmsy", "DejaVuSansDisplay", "DejaVuSerifDisplay")
REFERENCE_FACES = ("DejaVuSans.ttf", "DejaVuSerif.ttf")


@lru_cache
def _faces() -> dict[str, Path]:
    import matplotlib  # not on a device, which has images of its own

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return {f.name: f for f in sorted(folder.glob("*.ttf")) if not f.name.startswith(EXCLUDED_FACES)}


@lru_cache
def _font(face: str):  # type: ignore[no-untyped-def]
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(_faces()[face]))
    font.set_size(GLYPH_SIZE, 72)
    return font


def _script(character: str) -> str | None:
    """The script of a letter, `symbol` for signs, None for what is not drawn."""
    first = unicodedata.name(character, "").split(" ")[0].lower()
    category = unicodedata.category(character)
    known = {script for scripts in SPLITS.values() for script in scripts}
    if category[0] == "L":
        return first if first in known else None
    return "symbol" if category in ("So", "Sm", "Sc", "Nd", "No", "Po") else None


@lru_cache
def _coverage() -> dict[str, tuple[str, ...]]:
    """The faces that draw each character, for characters that at least `MIN_FACES` draw."""
    faces: dict[int, list[str]] = {}
    for face in _faces():
        for code in _font(face).get_charmap():
            faces.setdefault(code, []).append(face)
    return {chr(code): tuple(found) for code, found in sorted(faces.items()) if len(found) >= MIN_FACES}


@lru_cache(maxsize=8192)
def _bitmap(character: str, face: str) -> NDArray[np.uint8]:
    """The character as drawn by the face, cropped to its ink."""
    font = _font(face)
    font.set_text(character, 0.0)
    font.draw_glyphs_to_bitmap(antialiased=True)
    bitmap = np.asarray(font.get_image())
    rows, columns = np.flatnonzero(bitmap.max(1, initial=0)), np.flatnonzero(bitmap.max(0, initial=0))
    if not len(rows):
        return np.zeros((0, 0), np.uint8)
    return bitmap[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fit(bitmap: NDArray[np.uint8], side: int, canvas: int) -> Tensor:
    """Scale the longer side to `side`, centred on a square: float (1, canvas, canvas) in [0, 1]."""
    scale = side / max(bitmap.shape)
    height, width = (max(round(n * scale), 1) for n in bitmap.shape)
    image = torch.from_numpy(bitmap.astype(np.float32) / 255)[None, None]
    image = torch.nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)[0]
    top, left = (canvas - height) // 2, (canvas - width) // 2
    return torch.nn.functional.pad(image, (left, canvas - width - left, top, canvas - height - top))


def _signature(character: str) -> Tensor | None:
    """What a character looks like in the reference faces: unit rows (2, pixels); None if one draws nothing."""
    bitmaps = [_bitmap(character, face) for face in REFERENCE_FACES if face in _coverage()[character]]
    if not bitmaps or any(bitmap.size == 0 for bitmap in bitmaps):
        return None
    rows = torch.stack([_fit(b, LOOKALIKE_SIZE - 2, LOOKALIKE_SIZE).flatten() for b in bitmaps[:1] + bitmaps[-1:]])
    rows = torch.nn.functional.avg_pool2d(rows.view(2, 1, LOOKALIKE_SIZE, -1), 3, 1, 1).view(2, -1)
    rows = rows - rows.mean(1, keepdim=True)
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-6)
    return unit


def _alike(first: Tensor, second: Tensor, limit: float) -> NDArray[np.bool_]:
    """Which of the signatures (N, 2, pixels) and (M, 2, pixels) look alike in either face: (N, M)."""
    correlation = torch.maximum(first[:, 0] @ second[:, 0].t(), first[:, 1] @ second[:, 1].t())
    return (correlation >= limit).numpy()


def _first_of_each(alike: NDArray[np.bool_]) -> list[int]:
    """The rows (N, N) that look like no row kept before them."""
    kept: list[int] = []
    for row in range(len(alike)):
        if not alike[row, kept].any():
            kept.append(row)
    return kept


@lru_cache
def _split(split: str) -> tuple[tuple[str, ...], Tensor]:
    """The characters of a split and their signatures, homoglyphs left out within it and across splits."""
    drawn = [(c, _signature(c)) for script in SPLITS[split] for c in _coverage() if _script(c) == script]
    found = [(character, signature) for character, signature in drawn if signature is not None]
    signatures = torch.stack([signature for _, signature in found])
    # Held-out scripts choose first: what looks like one of their characters is left out of meta-training.
    for other in CHOOSING_ORDER[: CHOOSING_ORDER.index(split)]:
        taken = _alike(signatures, _split(other)[1], CROSS_SPLIT_CORRELATION)
        free = [row for row in range(len(found)) if not taken[row].any()]
        found = [found[row] for row in free]
        signatures = signatures[free]
    kept = _first_of_each(_alike(signatures, signatures, LOOKALIKE_CORRELATION))
    return tuple(found[row][0] for row in kept), signatures[kept]


@dataclass(frozen=True)
class GlyphSource:
    """Characters of one split.

    Args:
        split: train (Latin and symbols), validation (Cyrillic) or test (Greek, Georgian, Armenian, Lao).
        writer: all images in this writer's hand, an eccentric one; None draws a usual hand for every image.
        seed: of the population of writers.
        images_per_face: how often each typeface is drawn.
    """

    split: str = "test"
    writer: int | None = None
    seed: int = 0
    images_per_face: int = IMAGES_PER_FACE

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ConfigurationError(f"unknown glyph split {self.split!r}; the splits are {', '.join(SPLITS)}")

    @cached_property
    def characters(self) -> tuple[str, ...]:
        return _split(self.split)[0]

    @cached_property
    def classes(self) -> tuple[ImageClass, ...]:
        return tuple(
            ImageClass(f"{_script(c)}{FAMILY_SEPARATOR}U+{ord(c):04X}", tuple(_coverage()[c]) * self.images_per_face)
            for c in self.characters
        )

    def _hand(self, rng: np.random.Generator) -> Hand:
        if self.writer is None:
            return draw_hand(rng)
        return draw_hand(generator(self.seed, Draw.HAND, self.writer), WRITER_ECCENTRICITY)

    def load(self, class_index: int, image_index: int, resolution: int, margin: float = 1.0) -> Tensor:
        """As `ImageSource.load`; a character has no margin to leave out."""
        character = self.characters[class_index]
        face = self.classes[class_index].groups[image_index]
        entropy = (self.seed, 0 if self.writer is None else self.writer + 1, ord(character), image_index)
        rng = generator(*entropy)
        mask = _fit(_bitmap(character, face), GLYPH_SIZE, MASK_SIZE)
        return write(mask, jitter_hand(self._hand(rng), rng), rng, resolution)
