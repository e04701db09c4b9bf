"""Few-shot tasks: which images are support and which are query, and the tensors that follow from it.

Two samplers over an `ImageSource`: fixed N-way K-shot, and the various-way-various-shot one of Meta-Dataset
(Triantafillou et al. 2020, section 3.2 and their `sampling.py`). Support and query never share an image,
nor a group of images that show the same thing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinytrain_core.errors import BadImageError, DataError, TooFewClassesError, TooFewImagesError
from tinytrain_core.fewshot.datasets import ImageClass, ImageSource
from tinytrain_core.fewshot.share import MIN_WAYS as MIN_WAYS

MAX_WAYS = 50
MIN_VARIOUS_WAYS = 5
MAX_QUERY = 10
MAX_SUPPORT = 500
MAX_CLASS_CONTRIBUTION = 100


class Classes(Protocol):
    """What tasks are drawn from; the images themselves are not needed for that."""

    @property
    def classes(self) -> tuple[ImageClass, ...]: ...


@dataclass(frozen=True)
class ClassDraw:
    """The images of one class in a task, by their index in the source."""

    class_index: int
    support: tuple[int, ...]
    query: tuple[int, ...]


@dataclass(frozen=True)
class Episode:
    """A task as tensors; labels count the task's classes from 0.

    Attributes:
        support, query: uint8 (N, 3, R, R).
        support_labels, query_labels: int64 (N,).
        rejected: images that could not be decoded and were left out.
        dropped_classes: classes left out because too few of their images could be used.
    """

    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor
    ways: int
    rejected: int = 0
    dropped_classes: int = 0


def _interleaved(groups: list[list[int]]) -> list[int]:
    """The first image of every group, then the second of every group, and so on."""
    return [image for turn in zip_longest(*groups) for image in turn if image is not None]


def split_groups(
    image_class: ImageClass, shots: int, n_query: int, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Shuffle a class into (support candidates, query images) that share no group.

    Groups go to the query side until it has `n_query` images, and then as long as `shots` candidates stay for
    the support, until each query image can be of another group. Both sides take from their groups in turns, so
    that a side is not all one track. The last group stays for the support.
    """
    groups: dict[str, list[int]] = {}
    for index in rng.permutation(image_class.size).tolist():
        groups.setdefault(image_class.groups[index], []).append(index)
    support = list(groups.values())
    query: list[list[int]] = []
    while len(support) > 1 and (
        sum(map(len, query)) < n_query or (len(query) < n_query and sum(map(len, support)) - len(support[-1]) >= shots)
    ):
        query.append(support.pop())
    return _interleaved(support), _interleaved(query)[:n_query]


def _draw_class(source: Classes, index: int, shots: int, n_query: int, rng: np.random.Generator) -> ClassDraw:
    candidates, query = split_groups(source.classes[index], shots, n_query, rng)
    return ClassDraw(index, tuple(candidates[:shots]), tuple(query))


def _is_enough(image_class: ImageClass, images: int) -> bool:
    """Whether any split at a border between groups leaves both sides their images."""
    return image_class.distinct_groups > 1 and image_class.size - image_class.largest_group + 1 >= images


def sample_fixed(source: Classes, ways: int, shots: int, n_query: int, rng: np.random.Generator) -> list[ClassDraw]:
    """An N-way K-shot task over classes that have enough images.

    Raises:
        TooFewClassesError: fewer than `ways` classes have `shots + n_query` images in two groups.
    """
    enough = [i for i, c in enumerate(source.classes) if _is_enough(c, shots + n_query)]
    if len(enough) < ways or ways < MIN_WAYS:
        raise TooFewClassesError(
            f"{ways} ways of {shots} + {n_query} images wanted (at least {MIN_WAYS}), {len(enough)} classes have them"
        )
    chosen = rng.choice(enough, ways, replace=False).tolist()
    return [_draw_class(source, index, shots, n_query, rng) for index in chosen]


def family_candidates(classes: Sequence[ImageClass], least: int, rng: np.random.Generator) -> list[int]:
    """All usable classes; where classes have families of at least `least` (alphabets), those of one drawn family."""
    usable = [i for i, c in enumerate(classes) if c.distinct_groups > 1]
    families: dict[str, list[int]] = {}
    for index in usable:
        families.setdefault(classes[index].family, []).append(index)
    eligible = [members for members in families.values() if len(members) >= least]
    if len(families) > 1 and eligible:
        return eligible[int(rng.integers(len(eligible)))]
    return usable


def various_shots(images: NDArray[np.int64], n_query: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Meta-Dataset's support size, shared out among the classes of a task.

    |S| = min(500, sum_c floor(beta min(100, remaining_c) + 1)) with beta ~ U(0, 1], and
    shots_c = min(floor(R_c (|S| - ways)) + 1, remaining_c) with R_c ~ images_c exp(U(log 1/2, log 2)).

    Args:
        images: images per class (ways,).

    Returns:
        Shots per class (ways,), at least 1.
    """
    remaining = images - n_query
    beta = 1.0 - rng.random()
    total = min(MAX_SUPPORT, int(np.floor(beta * np.minimum(MAX_CLASS_CONTRIBUTION, remaining) + 1).sum()))
    share = images * np.exp(rng.uniform(math.log(0.5), math.log(2.0), len(images)))
    share = share / share.sum()
    shots = np.floor(share * max(total - len(images), 0)).astype(np.int64) + 1
    limited: NDArray[np.int64] = np.minimum(shots, remaining)
    return limited


def sample_various(source: ImageSource, rng: np.random.Generator) -> list[ClassDraw]:
    """A task of various ways and shots, as Meta-Dataset draws it.

    Raises:
        TooFewClassesError: fewer than five classes have images in two groups.
    """
    candidates = family_candidates(source.classes, MIN_VARIOUS_WAYS, rng)
    if len(candidates) < MIN_VARIOUS_WAYS:
        raise TooFewClassesError(f"{MIN_VARIOUS_WAYS} classes wanted, {len(candidates)} have images in two groups")
    ways = int(rng.integers(MIN_VARIOUS_WAYS, min(MAX_WAYS, len(candidates)) + 1))
    chosen = rng.choice(candidates, ways, replace=False).tolist()
    images = np.array([source.classes[index].size for index in chosen])
    n_query = min(MAX_QUERY, int(images.min()) // 2)
    shots = various_shots(images, n_query, rng)
    return [_draw_class(source, i, int(k), n_query, rng) for i, k in zip(chosen, shots, strict=True)]


def split_all(source: ImageSource, shots: int, n_query: int, rng: np.random.Generator) -> list[ClassDraw]:
    """Every class of a private source, split into support and holdout; classes that cannot be are left out."""
    draws = []
    for index, image_class in enumerate(source.classes):
        holdout = max(1, min(n_query, image_class.size // 2))
        draw = _draw_class(source, index, shots, holdout, rng)
        if draw.support and draw.query:
            draws.append(draw)
    return draws


def _load(source: ImageSource, class_index: int, images: tuple[int, ...], resolution: int) -> tuple[list[Tensor], int]:
    """The images that decode, and how many did not."""
    loaded = []
    for image_index in images:
        try:
            loaded.append(source.load(class_index, image_index, resolution))
        except BadImageError:
            continue
    return loaded, len(images) - len(loaded)


def load_episode(source: ImageSource, draws: list[ClassDraw], resolution: int) -> Episode:
    """Decode a task. Unreadable images are counted and left out, and so are classes that lose a side to it.

    Raises:
        TooFewClassesError: fewer than two classes are left.
        TooFewImagesError: the classes are there, but none has images on both sides.
    """
    sides: list[tuple[list[Tensor], list[Tensor]]] = []
    rejected = 0
    for draw in draws:
        support, bad_support = _load(source, draw.class_index, draw.support, resolution)
        query, bad_query = _load(source, draw.class_index, draw.query, resolution)
        rejected += bad_support + bad_query
        if support and query:
            sides.append((support, query))
    _check_sides(source, len(sides), rejected)
    labels = [
        torch.repeat_interleave(torch.arange(len(sides)), torch.tensor([len(s[k]) for s in sides])) for k in (0, 1)
    ]
    support_images, query_images = (torch.stack([image for s in sides for image in s[k]]) for k in (0, 1))
    return Episode(support_images, labels[0], query_images, labels[1], len(sides), rejected, len(draws) - len(sides))


def _check_sides(source: ImageSource, usable: int, rejected: int) -> None:
    if usable >= MIN_WAYS:
        return
    state = f"{usable} usable of {len(source.classes)} classes, {rejected} unreadable images"
    if len(source.classes) < MIN_WAYS:
        raise TooFewClassesError(f"a task needs {MIN_WAYS} classes: {state}")
    raise TooFewImagesError(f"a task needs {MIN_WAYS} classes with an image on either side: {state}")


def personal_episode(
    source: ImageSource, shots: int, holdout: int, resolution: int, rng: np.random.Generator
) -> Episode:
    """A device's own task: all its classes, at most `shots` support and `holdout` holdout images each.

    Raises:
        DataError: as `load_episode`.
    """
    if not source.classes:
        raise DataError("there are no classes")
    episode = load_episode(source, split_all(source, shots, holdout, rng), resolution)
    return replace(episode, dropped_classes=len(source.classes) - episode.ways)
