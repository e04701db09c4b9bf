"""Which learning rate an arm gets: the one that did best on validation tasks of the other data sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from simulations.studies.arms import Arm
from simulations.studies.study_settings import StudySettings
from simulations.studies.trials import Key, Purpose, Trials
from tinytrain_core.selection.methods import method_by_name

FIXED = 0.0  # stands for the rate of a method that does not adapt
DIGITS = 9  # to which mean accuracies are the same


@dataclass(frozen=True)
class Sweep:
    """What validation says of an arm on a backbone, for one data set.

    Attributes:
        chosen: the learning rate; 0 where the method does not adapt.
        accuracies: rate -> mean accuracy over the validation sets, which weigh the same; empty without a choice.
        sets: the labels of those sets.
    """

    data: str
    backbone: str
    arm: Arm
    chosen: float
    accuracies: Mapping[float, float] = field(default_factory=dict)
    sets: tuple[str, ...] = ()


def rates_of(settings: StudySettings, arm: Arm) -> tuple[float, ...]:
    """The rates that there are to choose from."""
    return settings.rates if method_by_name(arm.method).adapts else (FIXED,)


def _set_accuracies(settings: StudySettings, trials: Trials, key: Key) -> list[float]:
    """On the tasks of one validation set at one rate."""
    found = (trials.get(key._replace(trial=number)) for number in range(settings.validation_trials))
    return [t.accuracy_after for t in found if t is not None and t.accuracy_after is not None]


def sweep(settings: StudySettings, trials: Trials, data: str, backbone: str, arm: Arm) -> Sweep:
    """The choice of a rate; of rates that did the same, the smaller."""
    rates, labels = rates_of(settings, arm), settings.validation_labels(data)
    if len(rates) == 1:
        return Sweep(data, backbone, arm, rates[0])
    found = {}
    for rate in rates:
        keys = [Key(Purpose.VALIDATION, label, backbone, arm.training, arm.name, rate, 0) for label in labels]
        if sets := list(filter(None, (_set_accuracies(settings, trials, key) for key in keys))):
            found[rate] = fmean(map(fmean, sets))
    chosen = max(found, key=lambda rate: (round(found[rate], DIGITS), -rate), default=rates[0])
    return Sweep(data, backbone, arm, chosen, found, labels)
