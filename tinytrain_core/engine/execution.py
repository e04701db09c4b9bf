"""How a pass over a support set is executed: images alive at once, how carefully, and where features are kept."""

from collections.abc import Iterator
from dataclasses import dataclass

from tinytrain_core.engine.features import Place

ALIVE_AT_ONCE = (16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Execution:
    """A way to execute one and the same computation.

    Attributes:
        alive: images whose tensors are alive at once.
        lean: as few bytes as possible for each of them, at the cost of time: blocks of the prefix a few channels at a
            time, masks in bits, chosen weights as differences, embeddings before gradients.
        place: where features of the support are kept.
    """

    alive: int
    lean: bool
    place: Place


def executions(images: int, storage: bool) -> Iterator[Execution]:
    """Every way for a pass of that many images, the fastest first.

    Args:
        storage: whether features may be in a file.
    """
    yield Execution(images, False, Place.MEMORY)
    for place in (Place.MEMORY, Place.FILE, Place.NOWHERE) if storage else (Place.MEMORY, Place.NOWHERE):
        for alive in ALIVE_AT_ONCE:
            if alive < images or alive == 1:
                yield Execution(alive, True, place)


def parts(count: int, alive: int) -> Iterator[tuple[int, int]]:
    """(first, last) of `count` rows, `alive` at a time."""
    return ((first, min(first + alive, count)) for first in range(0, count, alive))
