"""Trials to the figures of a table: a cell for each comparison, backbone, data set and arm. Pure.

Only tasks that every arm of a comparison has ended on the data set and backbone are counted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from simulations.studies.arms import Arm
from simulations.studies.cell import Cell, average
from simulations.studies.comparisons import Comparison
from simulations.studies.rates import sweep
from simulations.studies.study_settings import StudySettings
from simulations.studies.trials import Key, Purpose, Trial, Trials
from tinytrain_core.statistics import Mean, paired, share_below, worst_decile

MIB = 2**20
MILLION = 10**6


@dataclass(frozen=True)
class _Row:
    """The trials of every arm of a comparison on one data set and backbone."""

    comparison: Comparison
    data: str
    backbone: str
    rates: Mapping[str, float]
    trials: Mapping[str, Mapping[int, Trial]]

    @property
    def numbers(self) -> list[int]:
        """The tasks that every arm has ended."""
        everywhere = set.intersection(*(set(found) for found in self.trials.values()))
        return sorted(everywhere)

    @property
    def counted(self) -> list[int]:
        """Those of them that there are images for."""
        return [n for n in self.numbers if all(t[n].accuracy_after is not None for t in self.trials.values())]


def _arm_trials(
    settings: StudySettings, trials: Trials, data: str, backbone: str, arm: Arm, rate: float
) -> dict[int, Trial]:
    keys = (
        Key(Purpose.TEST, data, backbone, arm.training, arm.name, rate, number) for number in range(settings.trials)
    )
    return {key.trial: trials[key] for key in keys if key in trials}


def _row(settings: StudySettings, trials: Trials, comparison: Comparison, data: str, backbone: str) -> _Row:
    arms = comparison.arms.items()
    rates = {name: sweep(settings, trials, data, backbone, arm).chosen for name, arm in arms}
    found = {name: _arm_trials(settings, trials, data, backbone, arm, rates[name]) for name, arm in arms}
    return _Row(comparison, data, backbone, rates, found)


def _difference(row: _Row, name: str, after: Sequence[float]) -> dict[str, Any]:
    """To the reference, where there is one and this is not it."""
    reference = row.trials.get(row.comparison.reference)
    if reference is None or name == row.comparison.reference:
        return dict.fromkeys(("difference", "difference_interval", "difference_p"))
    found = paired(after, [reference[n].accuracy_after or 0.0 for n in row.counted])
    return {"difference": found.mean, "difference_interval": found.interval, "difference_p": found.p_value}


def _medians(trials: Sequence[Trial]) -> dict[str, Any]:
    def middle(value: Callable[[Trial], float]) -> float:
        return float(median(map(value, trials)))

    return {
        "updated_weights": middle(lambda t: t.updated_weights),
        "paper_memory_mib": middle(lambda t: t.paper_memory_bytes / MIB),
        "backward_mmacs": middle(lambda t: t.backward_macs / MILLION),
        "total_mmacs": middle(lambda t: t.total_macs / MILLION),
        "seconds": middle(lambda t: t.seconds),
    }


def _counts(trials: Sequence[Trial]) -> dict[str, Any]:
    outcomes = [trial.outcome for trial in trials]
    return {"diverged": outcomes.count("failed"), "unaffordable": outcomes.count("cannot_afford")}


def _cell(row: _Row, name: str) -> Cell:
    arm, trials = row.comparison.arms[name], [row.trials[name][n] for n in row.counted]
    after, before = ([getattr(t, f"accuracy_{when}") for t in trials] for when in ("after", "before"))
    accuracy, gain = Mean.of(after), paired(after, before)
    return Cell(
        comparison=row.comparison.name,
        data=row.data,
        backbone=row.backbone,
        name=name,
        arm=arm.name,
        training=arm.training,
        tasks=accuracy.count,
        accuracy=accuracy.mean,
        accuracy_interval=accuracy.interval,
        gain=gain.mean,
        gain_interval=gain.interval,
        gain_p=gain.p_value,
        worst_decile=worst_decile(after),
        worse_share=share_below([a - b for a, b in zip(after, before, strict=True)]),
        learning_rate=row.rates[name] or None,
        without_task=len(row.numbers) - len(row.counted),
        **_difference(row, name, after),
        **_medians(trials),
        **_counts(trials),
    )


def _backbones(settings: StudySettings, comparison: Comparison) -> list[str]:
    """Those that there are of every training that the comparison needs."""
    return [b for b in settings.backbones if all(b in settings.files(a.training) for a in comparison.arms.values())]


def comparison_cells(settings: StudySettings, trials: Trials, comparison: Comparison) -> list[Cell]:
    """The cells of a comparison, and their average where there are several data sets with tasks."""
    cells = []
    for backbone in _backbones(settings, comparison):
        rows = [_row(settings, trials, comparison, data, backbone) for data in settings.data]
        found = [[_cell(row, name) for name in comparison.arms] for row in rows if row.counted]
        cells += [cell for row in found for cell in row]
        if len(found) == len(settings.data) > 1:
            cells += [average(arm) for arm in zip(*found, strict=True)]
    return cells
