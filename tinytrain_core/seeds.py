"""Where every random number comes from: a `SeedSequence` over the integers that name the draw.

There is no global seed. Two draws differ when their names differ, whoever makes them and in whatever order.
"""

import numpy as np
import torch


def generator(*entropy: int) -> np.random.Generator:
    """A numpy generator for the draw that the non-negative integers `entropy` name."""
    return np.random.default_rng(np.random.SeedSequence(entropy))


def torch_generator(*entropy: int) -> torch.Generator:
    """A CPU torch generator for the same kind of name."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(seed)
