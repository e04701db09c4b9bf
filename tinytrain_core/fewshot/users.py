"""One simulated user of a shared source: classes of their own, and images that nobody else has.

The images of a source are dealt out among its users, as `deals.py` and `writers.py` say, so that no image is on two
devices. Glyphs are not dealt: every user is a writer and writes their own.
"""

from functools import lru_cache
from pathlib import Path
from typing import Protocol

from tinytrain_core.errors import TooFewClassesError, TooFewImagesError
from tinytrain_core.fewshot.datasets import ImageClass, ImageSource, subset
from tinytrain_core.fewshot.deals import CHOICES, MIN_GROUPS, Deal
from tinytrain_core.fewshot.share import UserShare as UserShare
from tinytrain_core.fewshot.sources import is_file, is_glyphs, open_source, split_path
from tinytrain_core.fewshot.writers import WriterDeal

BY_WRITER = "by_writer"


class _Plan(Protocol):
    """What every user of a source has."""

    def images(self, user: int, wanted: int) -> dict[int, tuple[int, ...]]:
        """The images of each of a user's classes; `wanted` of a class are enough."""


@lru_cache(maxsize=8)
def _plan(classes: tuple[ImageClass, ...], everybody: UserShare) -> _Plan:
    """The one deal of all users, worked out once a process; `everybody` is the share of any of them, as user 0."""
    return (WriterDeal if everybody.sharing.scheme == BY_WRITER else Deal)(classes, everybody)


def _dealt(source: ImageSource, share: UserShare) -> _Plan:
    return _plan(source.classes, share.model_copy(update={"number": 0}))


def _written(source: ImageSource, share: UserShare) -> dict[int, tuple[int, ...]]:
    """The images of each of the user's classes, where the user writes them: all of them."""
    chosen = CHOICES[share.sharing.scheme](source.classes, list(range(len(source.classes))), share)
    return {i: tuple(range(source.classes[i].size)) for i in chosen}


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells one state of a file, or of a folder and what is right below it, from another."""
    places = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
    return tuple(place.stat().st_mtime_ns for place in places if place.exists())


@lru_cache(maxsize=8)
def _listed(data: str, stamp: tuple[int, ...]) -> ImageSource:
    """The source of all users, its files listed once a process and not once a user."""
    return open_source(data)


def _stock(data: str) -> ImageSource:
    return _listed(data, _stamp(split_path(data)[0])) if is_file(data) else open_source(data)


def _open(data: str, share: UserShare) -> ImageSource:
    """The source that users share, or the user's own glyphs.

    Raises:
        TooFewClassesError, TooFewImagesError: it has fewer usable classes than a user needs.
    """
    source = open_source(data, writer=share.number, seed=share.seed) if is_glyphs(data) else _stock(data)
    usable = sum(c.distinct_groups >= MIN_GROUPS for c in source.classes)
    if usable < share.min_ways:
        message = f"a user needs {share.min_ways} classes; {usable} of {len(source.classes)} have images on both sides"
        raise (TooFewClassesError if len(source.classes) < share.min_ways else TooFewImagesError)(message)
    return source


def user_source(data: str, share: UserShare, wanted: int = 0) -> ImageSource:
    """The classes and images of one simulated user.

    Args:
        wanted: images of a class that are enough, where the scheme takes no more groups than it must.

    Raises:
        TooFewClassesError: the source has fewer usable classes than a user needs.
        TooFewImagesError: there are too few images for so many users.
    """
    source = _open(data, share)
    images = _written(source, share) if is_glyphs(data) else _dealt(source, share).images(share.number, wanted)
    return subset(source, images)


def check_users(data: str, share: UserShare) -> None:
    """Make sure that each user has a task; `share` is that of any of them.

    Raises:
        ConfigurationError, DataError, UnsafeArchiveError: as `open_source` and `user_source`, for any user.
    """
    source = _open(data, share)
    if is_glyphs(data):
        _written(source, share)  # whoever writes: all classes are there for everybody
    else:
        _dealt(source, share)
