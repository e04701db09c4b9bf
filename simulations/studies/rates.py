"""Which learning rate an arm gets: the one that did best on validation tasks of the other data sets.

An arm has one rate for all backbones of its training, by the mean over them: a choice for each would follow the noise
of a third of the tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from simulations.studies.arms import Arm
from simulations.studies.study_settings import StudySettings
from simulations.studies.trials import Key, Purpose, Trials
from tinytrain_core.selection.methods import method_by_name

FIXED = 0.0  # stands for the rate of a method that does not adapt
DIGITS = 9  # to which mean accuracies are the same

Accuracies = list[list[float]]  # of validation sets, task by task


@dataclass(frozen=True)
class Sweep:
    """What validation says of an arm on a backbone, for one data set.

    Attributes:
        chosen: the learning rate, one for all backbones of the arm's training; 0 where the method does not adapt.
        accuracies: rate -> mean accuracy over the validation sets, which weigh the same, on this backbone; empty
            without a choice.
        tasks: rate -> on how many tasks of those sets.
        sets: their labels.
        at_end: whether the choice is the smallest or the largest of the rates.
    """

    data: str
    backbone: str
    arm: Arm
    chosen: float
    accuracies: Mapping[float, float] = field(default_factory=dict)
    tasks: Mapping[float, int] = field(default_factory=dict)
    sets: tuple[str, ...] = ()
    at_end: bool = False

    @property
    def where(self) -> str:
        return f"{self.backbone}, {self.data}"


def rates_of(settings: StudySettings, arm: Arm) -> tuple[float, ...]:
    """The rates that there are to choose from."""
    return settings.rates if method_by_name(arm.method).adapts else (FIXED,)


def _set_accuracies(settings: StudySettings, trials: Trials, key: Key) -> list[float]:
    """On the tasks of one validation set at one rate."""
    found = (trials.get(key._replace(trial=number)) for number in range(settings.validation_trials))
    return [t.accuracy_after for t in found if t is not None and t.accuracy_after is not None]


def _by_rate(
    settings: StudySettings, trials: Trials, labels: Sequence[str], backbone: str, arm: Arm
) -> dict[float, Accuracies]:
    """At each rate the accuracies on the validation sets that have any."""
    found = {}
    for rate in settings.rates:
        keys = [Key(Purpose.VALIDATION, label, backbone, arm.training, arm.name, rate, 0) for label in labels]
        if sets := list(filter(None, (_set_accuracies(settings, trials, key) for key in keys))):
            found[rate] = sets
    return found


def _best(means: Sequence[Mapping[float, float]], rates: Sequence[float]) -> float:
    """By the mean over the backbones; of rates that did the same, the smaller."""
    pooled = {rate: [found[rate] for found in means if rate in found] for rate in rates}
    scored = {rate: round(fmean(values), DIGITS) for rate, values in pooled.items() if values}
    return max(scored, key=lambda rate: (scored[rate], -rate), default=rates[0])


def sweep(settings: StudySettings, trials: Trials, data: str, backbone: str, arm: Arm) -> Sweep:
    """The choice of a rate."""
    rates, labels = rates_of(settings, arm), settings.validation_labels(data)
    if len(rates) == 1:
        return Sweep(data, backbone, arm, rates[0])
    found = {label: _by_rate(settings, trials, labels, label, arm) for label in settings.files(arm.training)}
    means = {label: {rate: fmean(map(fmean, sets)) for rate, sets in own.items()} for label, own in found.items()}
    tasks = {rate: sum(map(len, sets)) for rate, sets in found[backbone].items()}
    chosen = _best(list(means.values()), rates)
    return Sweep(data, backbone, arm, chosen, means[backbone], tasks, labels, chosen in (rates[0], rates[-1]))
