"""One random number for each device or node, drawn in blocks: as quick for 100,000 as it is sure for one.

A number depends on the seed, on what is drawn and on whose it is alone; neither on how many others there are nor on
the order in which they are asked for.
"""

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tinytrain_core.seeds import Draw, generator

BLOCK = 1024
Numbers = NDArray[np.float64]


class Figure(IntEnum):
    """What is drawn for a device or a node; the integer after `Draw.DEVICE_FIGURE` or `Draw.NODE_FIGURE`."""

    MEMORY = 1
    COMPUTE = 2
    SPEED = 3
    POWER = 4
    CHARGE = 5
    BANDWIDTH = 6
    PHASE = 7
    SLOW = 8
    BYZANTINE = 9
    LIE = 10


@lru_cache(maxsize=4096)
def _normals(*name: int) -> Numbers:
    return generator(*name).standard_normal(BLOCK)


@lru_cache(maxsize=4096)
def _uniforms(*name: int) -> Numbers:
    return generator(*name).random(BLOCK)


def normal(index: int, *name: int) -> float:
    """The standard normal number of `index` in the draw that `name` names."""
    block, place = divmod(index, BLOCK)
    return float(_normals(*name, block)[place])


def uniform(index: int, *name: int) -> float:
    """The same, uniform in [0, 1)."""
    block, place = divmod(index, BLOCK)
    return float(_uniforms(*name, block)[place])


def normals(count: int, *name: int) -> Numbers:
    """The numbers of 0 to `count` - 1: (count,)."""
    return np.concatenate([_normals(*name, block) for block in range(-(-count // BLOCK))])[:count]


def uniforms(count: int, *name: int) -> Numbers:
    """The same, uniform in [0, 1)."""
    return np.concatenate([_uniforms(*name, block) for block in range(-(-count // BLOCK))])[:count]


def factor(index: int, sigma: float, seed: int, draw: Draw, figure: Figure) -> float:
    """What a device's or node's figure is times its class's: exp(sigma x normal), 1 for sigma 0."""
    return float(np.exp(sigma * normal(index, seed, draw, figure))) if sigma else 1.0
