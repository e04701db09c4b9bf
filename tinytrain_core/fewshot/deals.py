"""How the images of a source are dealt out among users who choose classes.

The groups of a class (tracks, typefaces, or single images) fall to the users that hold it: evenly, or, where users
have preferences (Hsu et al. 2019 draw them from a Dirichlet distribution), the more the more a user prefers it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tinytrain_core.errors import TooFewImagesError
from tinytrain_core.fewshot.datasets import ImageClass
from tinytrain_core.fewshot.episodes import family_candidates
from tinytrain_core.fewshot.share import UserShare
from tinytrain_core.seeds import Draw, generator

MIN_GROUPS = 2  # of a class, for a user to have one on either side
RING = 0  # the order of the classes among the orders that are drawn
Classes = tuple[ImageClass, ...]
Choice = Callable[[Classes, list[int], UserShare], list[int]]


def _check_enough(candidates: int, share: UserShare) -> None:
    if candidates < share.min_ways:
        raise TooFewImagesError(
            f"after {share.number} of {share.users} users, {candidates} classes have {MIN_GROUPS} groups of "
            f"images left, a user needs {share.min_ways}: simulate fewer devices, or give more images"
        )


def drawn_ways(share: UserShare, most: int, rng: np.random.Generator) -> int:
    """How many classes a user has, of `most`."""
    return int(rng.integers(share.min_ways, min(share.max_ways, most) + 1))


def free_choice(classes: Classes, open_classes: list[int], share: UserShare) -> list[int]:
    """Classes drawn from those still open, of one family where classes have families.

    Raises:
        TooFewImagesError: too few classes are still open.
    """
    rng = generator(share.seed, Draw.USER_CLASSES, share.number)
    candidates = [open_classes[k] for k in family_candidates([classes[i] for i in open_classes], share.min_ways, rng)]
    _check_enough(len(candidates), share)
    chosen: list[int] = sorted(rng.choice(candidates, drawn_ways(share, len(candidates), rng), replace=False).tolist())
    return chosen


def neighbours(classes: Classes, open_classes: list[int], share: UserShare) -> list[int]:
    """Classes that follow each other in a ring, shuffled once for all users, of those still open.

    Raises:
        TooFewImagesError: too few classes are still open.
    """
    still_open = {i for i in open_classes if classes[i].distinct_groups >= MIN_GROUPS}
    _check_enough(len(still_open), share)
    ring = generator(share.seed, Draw.ORDER, RING).permutation(len(classes)).tolist()
    ring = [index for index in ring if index in still_open]
    rng = generator(share.seed, Draw.USER_CLASSES, share.number)
    ways, first = drawn_ways(share, len(ring), rng), int(rng.integers(len(ring)))
    return sorted((ring + ring)[first : first + ways])


CHOICES: dict[str, Choice] = {
    "choice": free_choice,
    "dirichlet": free_choice,
    "by_class": neighbours,
    "by_writer": free_choice,
}


def preference(share: UserShare, ways: int) -> NDArray[np.float64]:
    """How much of a user's images is of each of their classes, in order (ways,); it adds up to 1."""
    if share.sharing.scheme != "dirichlet":
        return np.full(ways, 1 / ways)
    return generator(share.seed, Draw.PREFERENCE, share.number).dirichlet(np.full(ways, share.sharing.alpha))


def _parts(groups: int, preferences: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where to cut `groups` groups among holders (holders - 1,): `MIN_GROUPS` each, the rest as they prefer it."""
    spare = groups - MIN_GROUPS * len(preferences)
    ends = np.cumsum(preferences) / preferences.sum() * spare
    cuts: NDArray[np.int64] = np.rint(ends[:-1]).astype(np.int64) + MIN_GROUPS * np.arange(1, len(preferences))
    return cuts


class Deal:
    """Which images each user has, where users choose classes one after the other.

    A class is open until two of its groups are spoken for by each of its holders.

    Args:
        everybody: the share of any user.

    Raises:
        TooFewImagesError: too few images for so many users.
    """

    def __init__(self, classes: Classes, everybody: UserShare) -> None:
        self._classes = classes
        self._seed = everybody.seed
        self._even = everybody.sharing.scheme != "dirichlet"
        self._holders: list[list[int]] = [[] for _ in classes]
        self._preferences: list[list[float]] = [[] for _ in classes]
        self._open = [i for i, c in enumerate(classes) if c.distinct_groups >= MIN_GROUPS]
        self._chosen = [self._choose(everybody.model_copy(update={"number": n})) for n in range(everybody.users)]
        self._dealt: dict[int, dict[int, tuple[int, ...]]] = {}  # class -> holder -> images, as they are asked for

    def _choose(self, share: UserShare) -> list[int]:
        chosen = CHOICES[share.sharing.scheme](self._classes, self._open, share)
        for index, preferred in zip(chosen, preference(share, len(chosen)).tolist(), strict=True):
            self._holders[index].append(share.number)
            self._preferences[index].append(preferred)
            if self._classes[index].distinct_groups < MIN_GROUPS * (len(self._holders[index]) + 1):
                self._open.remove(index)
        return chosen

    def images(self, user: int, wanted: int) -> dict[int, tuple[int, ...]]:
        """The images of each of a user's classes: all that fell to them."""
        return {index: self._of_class(index)[user] for index in self._chosen[user]}

    def _of_class(self, index: int) -> dict[int, tuple[int, ...]]:
        """The images of a class that each of its holders has."""
        if index not in self._dealt:
            self._dealt[index] = self._deal(index)
        return self._dealt[index]

    def _deal(self, index: int) -> dict[int, tuple[int, ...]]:
        image_class, holders = self._classes[index], self._holders[index]
        groups = sorted(set(image_class.groups))
        order = generator(self._seed, Draw.DEAL, index).permutation(len(groups))
        cuts = len(holders) if self._even else _parts(len(groups), np.maximum(self._preferences[index], 1e-12))
        parts = zip(holders, np.array_split(order, cuts), strict=True)
        holder = {groups[g]: user for user, part in parts for g in part}
        images: dict[int, list[int]] = {user: [] for user in holders}
        for image, group in enumerate(image_class.groups):
            images[holder[group]].append(image)
        return {user: tuple(own) for user, own in images.items()}
