"""One simulated user of a shared source: classes of their own choice, and images that nobody else has.

The groups of a class (tracks, typefaces, or single images) are dealt out among the users that hold it, so
that no image is on two devices. Glyphs are not dealt: every user is a writer and writes their own.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from tinytrain_core.errors import TooFewClassesError, TooFewImagesError
from tinytrain_core.fewshot.datasets import ImageClass, ImageSource, open_source
from tinytrain_core.fewshot.episodes import MIN_WAYS, family_candidates
from tinytrain_core.seeds import generator

CLASSES, DEAL = 11, 12  # what is drawn, as it enters the seeds
MIN_GROUPS = 2


class UserShare(BaseModel):
    """Which user of how many, and how many classes a user has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=0)
    users: int = Field(ge=1)
    seed: int = Field(0, ge=0)
    min_ways: int = Field(5, ge=MIN_WAYS)
    max_ways: int = Field(10, ge=MIN_WAYS)

    @model_validator(mode="after")
    def _consistent(self) -> "UserShare":
        if self.number >= self.users:
            raise ValueError(f"user {self.number} of {self.users}: users count from 0")
        if self.max_ways < self.min_ways:
            raise ValueError(f"max_ways {self.max_ways} is below min_ways {self.min_ways}")
        return self


@dataclass(frozen=True)
class Subset:
    """Some images of some classes of a source."""

    source: ImageSource
    classes: tuple[ImageClass, ...]
    indices: tuple[tuple[int, tuple[int, ...]], ...]  # per class: its index in the source, and its images'

    def load(self, class_index: int, image_index: int, resolution: int) -> Tensor:
        original, images = self.indices[class_index]
        return self.source.load(original, images[image_index], resolution)


def _chosen_classes(classes: tuple[ImageClass, ...], share: UserShare) -> list[int]:
    """The classes that a user has, drawn from one family where classes have families."""
    rng = generator(share.seed, CLASSES, share.number)
    candidates = family_candidates(classes, share.min_ways, rng)
    ways = int(rng.integers(share.min_ways, min(share.max_ways, len(candidates)) + 1))
    chosen: list[int] = sorted(rng.choice(candidates, ways, replace=False).tolist())
    return chosen


@lru_cache(maxsize=8)
def _holders(classes: tuple[ImageClass, ...], users: int, seed: int, ways: tuple[int, int]) -> dict[int, list[int]]:
    """Which users hold each class."""
    holders: dict[int, list[int]] = {}
    for number in range(users):
        share = UserShare(number=number, users=users, seed=seed, min_ways=ways[0], max_ways=ways[1])
        for index in _chosen_classes(classes, share):
            holders.setdefault(index, []).append(number)
    return holders


def _dealt_images(image_class: ImageClass, index: int, holders: list[int], share: UserShare) -> tuple[int, ...]:
    """The images of one class that fall to this user."""
    groups = sorted(set(image_class.groups))
    if len(groups) < MIN_GROUPS * len(holders):
        raise TooFewImagesError(
            f"class number {index} has {len(groups)} groups of images for {len(holders)} users, "
            f"{MIN_GROUPS} each are needed: simulate fewer devices, or give more images"
        )
    order = generator(share.seed, DEAL, index).permutation(len(groups))
    own = {groups[g] for g in np.array_split(order, len(holders))[holders.index(share.number)]}
    return tuple(i for i, group in enumerate(image_class.groups) if group in own)


def user_source(data: str, share: UserShare) -> ImageSource:
    """The classes and images of one simulated user.

    Raises:
        TooFewClassesError: the source has fewer usable classes than a user needs.
        TooFewImagesError: a class has too few images for all the users that hold it.
    """
    glyphs = data.startswith("glyphs")
    source = open_source(data, writer=share.number if glyphs else None, seed=share.seed)
    usable = sum(c.distinct_groups >= MIN_GROUPS for c in source.classes)
    if usable < share.min_ways:
        message = f"a user needs {share.min_ways} classes; {usable} of {len(source.classes)} have images on both sides"
        raise (TooFewClassesError if len(source.classes) < share.min_ways else TooFewImagesError)(message)
    chosen = _chosen_classes(source.classes, share)
    if glyphs:
        images = {index: tuple(range(source.classes[index].size)) for index in chosen}
    else:
        ways = (share.min_ways, share.max_ways)
        holders = _holders(source.classes, share.users, share.seed, ways)
        images = {i: _dealt_images(source.classes[i], i, holders[i], share) for i in chosen}
    classes = tuple(
        ImageClass(source.classes[i].name, tuple(source.classes[i].groups[k] for k in images[i])) for i in chosen
    )
    return Subset(source, classes, tuple((i, images[i]) for i in chosen))
