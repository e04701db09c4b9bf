"""Where every random number comes from: a `SeedSequence` over the integers that name the draw.

There is no global seed. Two draws of one kind differ when their names differ, whoever makes them and in whatever
order. A kind has names of one length (a SeedSequence pads with zeros) and a constant among them, below; only the
images of glyphs are named without one, by seed, writer, character and number.
"""

from enum import IntEnum

import numpy as np
import torch


class Draw(IntEnum):
    """What is drawn, as the second integer of a name, after the seed."""

    PRETRAINING = 1
    EPISODE = 2
    VALIDATION = 3
    VARIATION = 4
    INITIALISATION = 5
    EVALUATION = 6
    USER_CLASSES = 11
    DEAL = 12
    HAND = 13
    HOLDOUT = 14
    AUGMENTATION = 15
    DEVICE_CLASSES = 16
    ADAPTER = 17
    CHANNELS = 18
    SEARCH = 19
    DEVICE_FIGURE = 20
    NODE_FIGURE = 21
    PRESENCE = 22
    FATE = 23
    LIE = 24
    USER_SHOTS = 25
    PREFERENCE = 26
    WRONG_LABELS = 27
    STYLE = 28
    ORDER = 29
    RANDOM_BACKBONE = 35
    FEDERATED_NODES = 36
    FEDERATED_VIEWS = 37


def generator(*entropy: int) -> np.random.Generator:
    """A numpy generator for the draw that the non-negative integers `entropy` name."""
    return np.random.default_rng(np.random.SeedSequence(entropy))


def torch_generator(*entropy: int) -> torch.Generator:
    """A CPU torch generator for the same kind of name."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(seed)
