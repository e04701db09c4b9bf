"""How images are dealt out by who made them: a user has all images of a few writers, and no other.

The writer of an image is its group's name, within a family of classes where there are families: drawer 07 of an
Omniglot alphabet, or track 00003 of a traffic sign. A user's classes are of one family.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import PurePosixPath

from tinytrain_core.errors import TooFewImagesError
from tinytrain_core.fewshot.datasets import ImageClass
from tinytrain_core.fewshot.deals import MIN_GROUPS, RING, Classes, drawn_ways
from tinytrain_core.fewshot.share import UserShare
from tinytrain_core.seeds import Draw, generator

Images = dict[int, list[int]]  # by class


def _writers(image_class: ImageClass) -> list[str]:
    """The writer of each image."""
    return [PurePosixPath(group).stem for group in image_class.groups]


@dataclass
class _Family:
    """Writers who have written classes of one family.

    Attributes:
        order: the writers, those of most classes first, else shuffled; user k of n has each n-th from the k-th on.
        users: that have writers of it, in their order.
    """

    written: dict[str, Images] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    order: list[str] = field(default_factory=list)
    users: list[int] = field(default_factory=list)

    def shuffle(self, seed: int, number: int) -> None:
        names = sorted(self.written)
        shuffled = [names[k] for k in generator(seed, Draw.ORDER, RING + 1 + number).permutation(len(names))]
        self.order = sorted(shuffled, key=lambda name: -len(self.written[name]))

    def usable(self, writers: list[str]) -> list[int]:
        """The classes of which these writers have images for both sides."""
        count: dict[int, int] = defaultdict(int)
        for writer in writers:
            for index in self.written[writer]:
                count[index] += 1
        return sorted(index for index, groups in count.items() if groups >= MIN_GROUPS)

    def room(self, ways: int) -> int:
        """How many users can each have writers who share `ways` classes, by halving: fewer users have more each."""
        enough, too_many = 0, len(self.order) // MIN_GROUPS + 1
        while too_many - enough > 1:
            users = (enough + too_many) // 2
            serves = all(len(self.usable(self.order[k::users])) >= ways for k in range(users))
            enough, too_many = (users, too_many) if serves else (enough, users)
        return enough


class WriterDeal:
    """Which images each user has, where users have writers.

    Args:
        everybody: the share of any user.

    Raises:
        TooFewImagesError: too few writers have written enough of the same classes for so many users.
    """

    def __init__(self, classes: Classes, everybody: UserShare) -> None:
        self._share = everybody
        self._families = self._read(classes)
        rooms = [family.room(everybody.min_ways) for family in self._families]
        if sum(rooms) < everybody.users:
            raise TooFewImagesError(
                f"by_writer: {sum(len(family.order) for family in self._families)} writers are enough for {sum(rooms)} "
                f"users, each with {MIN_GROUPS} writers of the same {everybody.min_ways} classes; {everybody.users} "
                "users want images: simulate fewer devices, ask for fewer classes, or share by choice"
            )
        self._place: list[tuple[_Family, int]] = []
        self._seat(everybody.users, rooms)
        self._check()

    def _read(self, classes: Classes) -> list[_Family]:
        families: dict[str, _Family] = defaultdict(_Family)
        for index, image_class in enumerate(classes):
            for image, writer in enumerate(_writers(image_class)):
                families[image_class.family].written[writer][index].append(image)
        for number, name in enumerate(sorted(families)):
            families[name].shuffle(self._share.seed, number)
        return [families[name] for name in sorted(families)]

    def _seat(self, users: int, rooms: list[int]) -> None:
        """Give every user a family in turn, as long as it has room."""
        turn = cycle(zip(self._families, rooms, strict=True))
        while len(self._place) < users:
            family, room = next(turn)
            if len(family.users) < room:
                family.users.append(len(self._place))
                self._place.append((family, len(family.users) - 1))

    def _check(self) -> None:
        for user, (family, place) in enumerate(self._place):
            writers = family.order[place :: len(family.users)]
            if (classes := len(family.usable(writers))) < self._share.min_ways:
                raise TooFewImagesError(
                    f"by_writer: the {len(writers)} writers of user {user} share {classes} classes, "
                    f"a user needs {self._share.min_ways}: simulate fewer devices, or share by choice"
                )

    def images(self, user: int, wanted: int) -> dict[int, tuple[int, ...]]:
        """The images of each of a user's classes, of as few of their writers as have `wanted` of each."""
        family, place = self._place[user]
        writers = family.order[place :: len(family.users)]
        classes = family.usable(writers)
        rng = generator(self._share.seed, Draw.USER_CLASSES, user)
        chosen = sorted(rng.choice(classes, drawn_ways(self._share, len(classes), rng), replace=False).tolist())
        return {index: _first(family, writers, index, wanted) for index in chosen}


def _first(family: _Family, writers: list[str], index: int, wanted: int) -> tuple[int, ...]:
    """The images of a class by its first writers: of two at least, and until there are enough."""
    images: list[int] = []
    hands = 0
    for writer in writers:
        if hands >= MIN_GROUPS and len(images) >= wanted:
            break
        own = family.written[writer].get(index, [])
        images += own
        hands += bool(own)
    return tuple(sorted(images))
