"""Fixed validation tasks over classes and domains that training never sees."""

from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.fewshot.datasets import ImageSource
from tinytrain_core.fewshot.episodes import ClassDraw, sample_fixed
from tinytrain_core.fewshot.frozen import frozen_accuracies
from tinytrain_core.fewshot.sources import join, open_source
from tinytrain_core.meta_training.settings import ValidationData
from tinytrain_core.seeds import Draw, generator


@dataclass(frozen=True)
class Validation:
    """The accuracy of each task, by the name of the validation data."""

    accuracies: dict[str, list[float]]

    @property
    def means(self) -> dict[str, float]:
        return {name: fmean(values) for name, values in self.accuracies.items()}

    @property
    def mean(self) -> float:
        """Every validation data set counts the same."""
        return fmean(self.means.values())


@dataclass(frozen=True)
class Validator:
    """The same tasks for every backbone."""

    settings: tuple[ValidationData, ...]
    seed: int

    @cached_property
    def tasks(self) -> list[tuple[str, ImageSource, list[list[ClassDraw]]]]:
        """Per validation data: its name, its images and its tasks.

        Raises:
            ConfigurationError, DataError: the data is not there, or not enough.
        """
        return [(data.name, *self._draw(number, data)) for number, data in enumerate(self.settings)]

    def _draw(self, number: int, data: ValidationData) -> tuple[ImageSource, list[list[ClassDraw]]]:
        source = join([open_source(name) for name in data.paths])
        rngs = (generator(self.seed, Draw.VALIDATION, number, episode) for episode in range(data.episodes))
        return source, [sample_fixed(source, data.ways, data.shots, data.queries, rng) for rng in rngs]

    def __call__(self, backbone: Backbone) -> Validation:
        """The accuracies of a backbone."""
        return Validation({name: frozen_accuracies(backbone, source, tasks) for name, source, tasks in self.tasks})
