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
    fewer = [alive for alive in ALIVE_AT_ONCE if alive < images or alive == 1]
    for alive in fewer:
        yield from (Execution(alive, True, place) for place in _kept(storage))
    yield from (Execution(alive, True, Place.NOWHERE) for alive in fewer)


def leanest(storage: bool) -> Iterator[Execution]:
    """The ways with one image alive, of which one needs the least memory."""
    yield from (Execution(1, True, place) for place in (*_kept(storage), Place.NOWHERE))


def _kept(storage: bool) -> tuple[Place, ...]:
    return (Place.MEMORY, Place.FILE) if storage else (Place.MEMORY,)


def parts(count: int, alive: int) -> Iterator[tuple[int, int]]:
    """(first, last) of `count` rows, `alive` at a time."""
    return ((first, min(first + alive, count)) for first in range(0, count, alive))


def step_parts(support: int, unlabelled: int, alive: int) -> list[tuple[int, int]]:
    """(first, last) of a step's 2 N + U images: those of the clean support, of its view, and those without labels."""
    sides = (0, support), (support, support), (2 * support, unlabelled)
    return [(first + side, last + side) for side, images in sides for first, last in parts(images, alive)]
