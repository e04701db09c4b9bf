"""What a setting of the engine does to accuracy: frozen against adapted, paired on the same tasks.

For validation data, from which defaults are chosen: never for data that results are reported on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.fewshot.example_tasks import example_task
from tinytrain_core.personalise import personalise
from tinytrain_core.seeds import Draw
from tinytrain_core.selection.cost import Budget, full_train_backward_macs
from tinytrain_core.statistics import Mean, Paired, paired, share_below

UNLIMITED = 2**40


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
    difference: Paired
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
    """`count` validation tasks of a source."""
    return [example_task(data, resolution, Draw.VALIDATION, seed, number) for number in range(count)]


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
        Effect(name, Mean.of(found), paired(found, gains[0]), share_below(found))
        for (name, _), found in zip(settings, gains, strict=True)
    ]
