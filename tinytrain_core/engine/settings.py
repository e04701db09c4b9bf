"""How a plan is trained: steps, optimiser, learning rate, augmentation, and the one place of their defaults.

The defaults were chosen on validation users (Cyrillic glyphs in eccentric hands, never test users; docs/engine.md has
the figures): of learning rates from 0.0003 to 0.006, 0.003 over a small plan (over a large one they do not differ by
more than their intervals); four views; no mirroring.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tinytrain_core.engine.defaults import LEARNING_RATE as LEARNING_RATE
from tinytrain_core.engine.defaults import MAX_VIEWS as MAX_VIEWS
from tinytrain_core.engine.defaults import OPTIMISER as OPTIMISER
from tinytrain_core.engine.defaults import PRECISION as PRECISION
from tinytrain_core.engine.defaults import STEPS as STEPS
from tinytrain_core.engine.defaults import VIEWS as VIEWS
from tinytrain_core.engine.features import PRECISIONS
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.augment import Augmentation


@dataclass(frozen=True)
class Optimiser:
    """An optimiser of torch over one vector, and how many copies of it its state is."""

    make: Callable[[Tensor, float], torch.optim.Optimizer]
    copies: int


OPTIMISERS = {
    "adam": Optimiser(lambda p, lr: torch.optim.Adam([p], lr, betas=(0.9, 0.999), fused=True), 2),
    "momentum": Optimiser(lambda p, lr: torch.optim.SGD([p], lr, momentum=0.9, fused=True), 1),
    "sgd": Optimiser(lambda p, lr: torch.optim.SGD([p], lr, fused=True), 0),
}


@dataclass(frozen=True)
class TrainingSettings:
    """How a plan is trained.

    Attributes:
        views: augmented views of the support, drawn once, whose prefix features are kept and taken in turn; 0 draws
            a fresh one in every step, for which the prefix has to run again.
        precision: of kept features: full, half or byte.
    """

    steps: int = STEPS
    learning_rate: float = LEARNING_RATE
    optimiser: str = OPTIMISER
    augmentation: Augmentation = field(default_factory=Augmentation)
    views: int = VIEWS
    precision: str = PRECISION

    def __post_init__(self) -> None:
        _check_known("optimiser", self.optimiser, OPTIMISERS)
        _check_known("precision", self.precision, PRECISIONS)
        if self.steps < 0 or not self.learning_rate > 0:
            raise ConfigurationError(f"{self.steps} steps at a learning rate of {self.learning_rate}")
        if self.views < 0:
            raise ConfigurationError(f"a pool of {self.views} views; give 0 for fresh ones, or how many to keep")


def _check_known(what: str, asked: str, known: Collection[str]) -> None:
    if asked not in known:
        raise ConfigurationError(f"unknown {what} {asked!r}; the known ones are {', '.join(known)}")
