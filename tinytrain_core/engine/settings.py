"""How a plan is trained: steps, optimiser, learning rate, augmentation, and the one place of their defaults.

The defaults are those that did best on validation users (Cyrillic glyphs in eccentric hands, never test users):
of learning rates from 0.0005 to 0.01, 0.003 over a small and a large plan alike, without mirroring.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.augment import Augmentation

STEPS = 40
LEARNING_RATE = 3e-3
OPTIMISER = "adam"

Parameters = list[Tensor]


@dataclass(frozen=True)
class Optimiser:
    """An optimiser of torch, and how many copies of a parameter its state is."""

    make: Callable[[Parameters, float], torch.optim.Optimizer]
    copies: int


OPTIMISERS = {
    "adam": Optimiser(lambda p, lr: torch.optim.Adam(p, lr, betas=(0.9, 0.999), foreach=False), 2),
    "momentum": Optimiser(lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, foreach=False), 1),
    "sgd": Optimiser(lambda p, lr: torch.optim.SGD(p, lr, foreach=False), 0),
}


@dataclass(frozen=True)
class TrainingSettings:
    """How a plan is trained."""

    steps: int = STEPS
    learning_rate: float = LEARNING_RATE
    optimiser: str = OPTIMISER
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise ConfigurationError(
                f"unknown optimiser {self.optimiser!r}; the known ones are {', '.join(OPTIMISERS)}"
            )
