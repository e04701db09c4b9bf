"""What a setting of the engine does to accuracy: frozen against adapted, paired on the same tasks.

For validation data, from which defaults are chosen: never for data that results are reported on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.episodes import Episode, load_episode, sample_fixed
from tinytrain_core.fewshot.sources import is_glyphs, open_source
from tinytrain_core.personalise import personalise
from tinytrain_core.seeds import Draw, generator
from tinytrain_core.selection.cost import Budget, full_train_backward_macs
from tinytrain_core.statistics import half_width

WAYS, SHOTS, QUERIES = 5, 5, 10
UNLIMITED = 2**40


@dataclass(frozen=True)
class Mean:
    """A mean, and half of its 95 % interval."""

    mean: float
    interval: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        return cls(fmean(values), half_width(values))


@dataclass(frozen=True)
class Effect:
    """One value of a setting.

    Attributes:
        gain: adapted minus frozen accuracy, over tasks.
        difference: of that gain to the first value's, on the same tasks.
        worse: the share of tasks whose adapted accuracy is below the frozen one.
    """

    setting: str
    gain: Mean
    difference: Mean
    worse: float


def varied(settings: TrainingSettings, change: str) -> list[tuple[str, TrainingSettings]]:
    """The settings with each value of a change such as `views=0,1,4`.

    Raises:
        ConfigurationError: no such setting, or a value of another type.
    """
    name, _, values = change.partition("=")
    kind = type(getattr(settings, name, None))
    if kind not in (int, float, str) or not values:
        raise ConfigurationError(f"{change!r} does not vary a setting; views=0,1,4 or learning_rate=0.001,0.003 would")
    try:
        return [(f"{name}={value}", replace(settings, **{name: kind(value)})) for value in values.split(",")]
    except ValueError as error:
        raise ConfigurationError(f"{change!r}: {error}") from None


def tasks(data: str, count: int, resolution: int, seed: int) -> list[Episode]:
    """`count` 5-way 5-shot tasks of a source; of glyphs each in another writer's hand, as simulated users have."""
    episodes = []
    for number in range(count):
        source = open_source(data, writer=number if is_glyphs(data) else None, seed=seed)
        draws = sample_fixed(source, WAYS, SHOTS, QUERIES, generator(seed, Draw.VALIDATION, number))
        episodes.append(load_episode(source, draws, resolution))
    return episodes


def budget_of(device: str, backbone: Backbone) -> Budget:
    """The budget of a device class, features in files without limit."""
    full = full_train_backward_macs(backbone.spec)
    return replace(device_profile(device).budget(full), storage_bytes=UNLIMITED)


def effects(
    backbone: Backbone,
    episodes: Sequence[Episode],
    budget: Budget,
    settings: Sequence[tuple[str, TrainingSettings]],
    tell: Callable[[str], None],
) -> list[Effect]:
    """Personalise every task with every setting."""
    gains: list[list[float]] = [[] for _ in settings]
    for number, episode in enumerate(episodes):
        tell(f"task {number + 1} of {len(episodes)}")
        for found, (_, chosen) in zip(gains, settings, strict=True):
            report = personalise(backbone, episode, budget, seed=number, settings=chosen).report
            found.append(100 * (report.accuracy_after - report.accuracy_before))
    return [
        Effect(
            name,
            Mean.of(found),
            Mean.of([a - b for a, b in zip(found, gains[0], strict=True)]),
            sum(gain < 0 for gain in found) / len(found),
        )
        for (name, _), found in zip(settings, gains, strict=True)
    ]
