"""A study from settings to trials: first all validation, then the tasks that count, one by one.

A task is run by every arm on every backbone before the next one is, so that an interrupted study has the same number
of tasks everywhere, and the same tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from simulations.studies.arms import Training
from simulations.studies.rates import rates_of, sweep
from simulations.studies.runner import Unit, draw_task, open_data
from simulations.studies.study_folder import StudyRecord, claim
from simulations.studies.study_progress import StudyProgress
from simulations.studies.study_settings import StudySettings
from simulations.studies.trials import Key, Purpose, Trial, Trials, TrialsFile, open_trials, read_trials
from simulations.studies.workers import Workers
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.errors import ConfigurationError, DataError
from tinytrain_core.files import exclusive

CUDA = "cuda"
SHOWN = 16  # digits of a digest


def validation_units(settings: StudySettings) -> list[Unit]:
    """What has to be run to choose learning rates; the sets share their tasks, whatever they choose for."""
    used = {label for data in settings.data for label in settings.validation_labels(data)} if settings.validates else ()
    return [
        Unit(Purpose.VALIDATION, data, backbone, arm, rate, number)
        for number in range(settings.validation_trials)
        for data in settings.validation
        if data in used
        for backbone, arm in settings.cells()
        if len(rates := rates_of(settings, arm)) > 1
        for rate in rates
    ]


def evaluation_units(settings: StudySettings, trials: Trials) -> list[Unit]:
    """What counts, with the rates that validation has chosen."""
    chosen = [
        (data, backbone, arm, sweep(settings, trials, data, backbone, arm).chosen)
        for data in settings.data
        for backbone, arm in settings.cells()
    ]
    return [
        Unit(Purpose.TEST, data, backbone, arm, rate, number)
        for number in range(settings.trials)
        for data, backbone, arm, rate in chosen
    ]


def _check_data(settings: StudySettings) -> None:
    """Make sure that the first task of every set can be drawn."""
    sets = [(Purpose.TEST, label) for label in settings.data]
    sets += [(Purpose.VALIDATION, label) for label in settings.validation if settings.validates]
    for purpose, label in sets:
        try:
            draw_task(settings, open_data(settings, purpose, label), purpose, label, 0)
        except DataError as error:
            raise type(error)(f"the {purpose} data {label}: {error}") from None


def _architecture(file: str) -> str:
    return from_bytes(read_bytes(file)).spec.name


def _check_backbones(settings: StudySettings) -> None:
    if settings.device == CUDA and not torch.cuda.is_available():
        raise ConfigurationError("torch finds no CUDA device here; give --device cpu")
    names = {label: _architecture(file) for label, file in settings.files(Training.META).items()}
    for label, file in settings.files(Training.PLAIN).items():
        if (found := _architecture(file)) != names[label]:
            raise ConfigurationError(f"{label} is {names[label]} meta-trained and {found} plain; give one architecture")


@dataclass(frozen=True)
class _Execution:
    """A study's trials so far, where more of them go, and who runs them."""

    trials: dict[Key, Trial]
    file: TrialsFile
    workers: Workers
    progress: StudyProgress

    def missing(self, units: Sequence[Unit]) -> list[Unit]:
        """Those that have not ended, and those that failed for want of data, which may be there now."""
        return [unit for unit in units if (found := self.trials.get(unit.key)) is None or found.is_mendable]

    def run(self, units: Sequence[Unit]) -> None:
        for trial in self.workers.run(self.missing(units)):
            if trial != self.trials.get(trial.key):
                self.file.append(trial)
            self.trials[trial.key] = trial
            self.progress.take(trial)

    def run_all(self, settings: StudySettings) -> None:
        validation = validation_units(settings)
        self.progress.plan(self.missing([*validation, *evaluation_units(settings, self.trials)]), self.trials.values())
        self.run(validation)
        tests = evaluation_units(settings, self.trials)
        self.progress.plan(self.missing(tests))
        self.run(tests)


def _tell_of_code(out: Path, record: StudyRecord, progress: StudyProgress) -> None:
    earlier = ", ".join(sources[:SHOWN] for sources in record.earlier_sources)
    if earlier:
        progress.say(f"{out} has trials of other code (sha256 {earlier}); this goes on with {record.sources[:SHOWN]}")


def run_study(settings: StudySettings, out: Path, command: str, workers: int, progress: StudyProgress) -> None:
    """Run what of a study has not been run before; every trial is in the folder as soon as it has ended.

    Raises:
        ConfigurationError, DataError, BackboneError: it cannot be run, or the folder holds another study.
        FleetError: a worker died.
        StorageError: the folder cannot be written, or another process is at work in it.
    """
    _check_backbones(settings)
    _check_data(settings)
    with exclusive(out):
        _tell_of_code(out, claim(out, settings, command), progress)
        trials = read_trials(out)
        with open_trials(out) as file, Workers(settings, workers) as pool:
            _Execution(trials, file, pool, progress).run_all(settings)
