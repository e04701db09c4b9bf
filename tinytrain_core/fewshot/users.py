"""One simulated user of a shared source: classes of their own choice, and images that nobody else has.

The groups of a class (tracks, typefaces, or single images) are dealt out among the users that hold it, so
that no image is on two devices. Glyphs are not dealt: every user is a writer and writes their own.
"""

from functools import lru_cache

import numpy as np

from tinytrain_core.errors import TooFewClassesError, TooFewImagesError
from tinytrain_core.fewshot.datasets import ImageClass, ImageSource, subset
from tinytrain_core.fewshot.episodes import family_candidates
from tinytrain_core.fewshot.share import UserShare as UserShare
from tinytrain_core.fewshot.sources import is_glyphs, open_source
from tinytrain_core.seeds import Draw, generator

MIN_GROUPS = 2


def _chosen_classes(classes: tuple[ImageClass, ...], open_classes: list[int], share: UserShare) -> list[int]:
    """The classes that a user has, drawn from those still open, of one family where classes have families.

    Raises:
        TooFewImagesError: too few classes are still open.
    """
    rng = generator(share.seed, Draw.USER_CLASSES, share.number)
    candidates = [open_classes[k] for k in family_candidates([classes[i] for i in open_classes], share.min_ways, rng)]
    if len(candidates) < share.min_ways:
        raise TooFewImagesError(
            f"after {share.number} of {share.users} users, {len(candidates)} classes have {MIN_GROUPS} groups of "
            f"images left, a user needs {share.min_ways}: simulate fewer devices, or give more images"
        )
    ways = int(rng.integers(share.min_ways, min(share.max_ways, len(candidates)) + 1))
    chosen: list[int] = sorted(rng.choice(candidates, ways, replace=False).tolist())
    return chosen


@lru_cache(maxsize=8)
def _holders(classes: tuple[ImageClass, ...], users: int, seed: int, ways: tuple[int, int]) -> dict[int, list[int]]:
    """Which users hold each class; a class is open until two groups are spoken for by each of its holders."""
    holders: dict[int, list[int]] = {index: [] for index in range(len(classes))}
    for number in range(users):
        share = UserShare(number=number, users=users, seed=seed, min_ways=ways[0], max_ways=ways[1])
        still_open = [i for i, c in enumerate(classes) if c.distinct_groups >= MIN_GROUPS * (len(holders[i]) + 1)]
        for index in _chosen_classes(classes, still_open, share):
            holders[index].append(number)
    return holders


def _dealt_images(image_class: ImageClass, index: int, holders: list[int], share: UserShare) -> tuple[int, ...]:
    """The images of one class that fall to this user."""
    groups = sorted(set(image_class.groups))
    order = generator(share.seed, Draw.DEAL, index).permutation(len(groups))
    own = {groups[g] for g in np.array_split(order, len(holders))[holders.index(share.number)]}
    return tuple(i for i, group in enumerate(image_class.groups) if group in own)


def _dealt(source: ImageSource, share: UserShare) -> dict[int, tuple[int, ...]]:
    """The images of each of the user's classes, where all users share one stock of images."""
    classes = source.classes
    holders = _holders(classes, share.users, share.seed, (share.min_ways, share.max_ways))
    mine = [index for index, users in holders.items() if share.number in users]
    return {i: _dealt_images(classes[i], i, holders[i], share) for i in mine}


def _written(source: ImageSource, share: UserShare) -> dict[int, tuple[int, ...]]:
    """The images of each of the user's classes, where the user writes them: all of them."""
    chosen = _chosen_classes(source.classes, list(range(len(source.classes))), share)
    return {i: tuple(range(source.classes[i].size)) for i in chosen}


def user_source(data: str, share: UserShare) -> ImageSource:
    """The classes and images of one simulated user.

    Raises:
        TooFewClassesError: the source has fewer usable classes than a user needs.
        TooFewImagesError: there are too few images for so many users.
    """
    glyphs = is_glyphs(data)
    source = open_source(data, writer=share.number if glyphs else None, seed=share.seed)
    usable = sum(c.distinct_groups >= MIN_GROUPS for c in source.classes)
    if usable < share.min_ways:
        message = f"a user needs {share.min_ways} classes; {usable} of {len(source.classes)} have images on both sides"
        raise (TooFewClassesError if len(source.classes) < share.min_ways else TooFewImagesError)(message)
    images = _written(source, share) if glyphs else _dealt(source, share)
    return subset(source, images)
