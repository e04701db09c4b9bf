"""The mixture of training sources: which source, class and image a step sees, and how the image is varied.

Everything that step `i` of phase `p` sees depends on (seed, p, i) alone, so that a run continued from its
checkpoint is the run that never stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from tinytrain_core.errors import TooFewClassesError
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.episodes import Classes, sample_fixed
from tinytrain_core.meta_training.crops import draw_variation
from tinytrain_core.meta_training.pool import ImagePool
from tinytrain_core.meta_training.settings import EpisodicPhase, TrainingData
from tinytrain_core.seeds import Draw, generator, torch_generator


@dataclass(frozen=True)
class Task:
    """A task's images in [-1, 1], support and query (N, 3, R, R), and their labels (N,)."""

    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor
    ways: int


def check_tasks(data: Sequence[TrainingData], sources: Sequence[Classes], phases: Sequence[EpisodicPhase]) -> None:
    """Make sure that every source has tasks of the phases that draw it.

    Raises:
        TooFewClassesError: one has too few classes with enough images.
    """
    for settings, source in zip(data, sources, strict=True):
        for shape in phases:
            if not shape.weights.get(settings.name, settings.weight):
                continue
            try:
                sample_fixed(source, shape.ways, shape.shots, shape.queries, np.random.default_rng(0))
            except TooFewClassesError as error:
                raise TooFewClassesError(f"the training data {settings.name!r}: {error}") from None


@dataclass(frozen=True)
class SourceMixture:
    """The sources of one run.

    Attributes:
        data: per source, its settings; pools: its decoded images.
    """

    data: tuple[TrainingData, ...]
    pools: tuple[ImagePool, ...]
    seed: int

    @property
    def classes(self) -> int:
        """All classes of all sources."""
        return sum(len(pool.classes) for pool in self.pools)

    @property
    def device(self) -> torch.device:
        return self.pools[0].images.device

    def _shares(self, weights: Mapping[str, float]) -> list[float]:
        """How often each source is drawn; `weights` replaces the sources' own, by name."""
        own = [weights.get(data.name, data.weight) for data in self.data]
        return [weight / sum(own) for weight in own]

    def _vary(self, source: int, images: Tensor, resolution: int, *entropy: int) -> Tensor:
        variation = draw_variation(len(images), self.data[source], torch_generator(self.seed, *entropy, source))
        return variation.apply(scale_pixels(images), resolution)

    def batch(
        self, phase: int, step: int, size: int, resolution: int, weights: Mapping[str, float] = MappingProxyType({})
    ) -> tuple[Tensor, Tensor]:
        """Images (size, 3, R, R) in [-1, 1] and their classes (size,), counted over all sources."""
        rng = generator(self.seed, Draw.PRETRAINING, phase, step)
        images, labels, first = [], [], 0
        for source, count in enumerate(rng.multinomial(size, self._shares(weights))):
            pool = self.pools[source]
            classes = rng.integers(len(pool.classes), size=count)
            chosen = [pool.index(c, int(rng.integers(pool.classes[c].size))) for c in classes.tolist()]
            if chosen:
                taken = pool.take(torch.tensor(chosen))
                images.append(self._vary(source, taken, resolution, Draw.VARIATION, phase, step))
                labels.append(torch.from_numpy(classes) + first)
            first += len(pool.classes)
        return torch.cat(images), torch.cat(labels).to(self.device)

    def task(self, phase: int, step: int, shape: EpisodicPhase, resolution: int) -> Task:
        """A task from one source."""
        rng = generator(self.seed, Draw.EPISODE, phase, step)
        source = int(rng.choice(len(self.pools), p=self._shares(shape.weights)))
        pool = self.pools[source]
        draws = sample_fixed(pool, shape.ways, shape.shots, shape.queries, rng)
        support = [[pool.index(draw.class_index, image) for image in draw.support] for draw in draws]
        query = [[pool.index(draw.class_index, image) for image in draw.query] for draw in draws]
        taken = pool.take(torch.tensor([i for part in (*support, *query) for i in part]))
        images = self._vary(source, taken, resolution, Draw.VARIATION, phase, step)
        boundary = sum(map(len, support))
        return Task(images[:boundary], self._labels(support), images[boundary:], self._labels(query), len(draws))

    def _labels(self, parts: list[list[int]]) -> Tensor:
        counts = torch.tensor([len(part) for part in parts])
        return torch.repeat_interleave(torch.arange(len(parts)), counts).to(self.device)


def bfloat16_on_cuda(device: torch.device) -> torch.autocast:
    """Around the network's forward pass only: crops, cosines and losses stay in single precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
