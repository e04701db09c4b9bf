"""Trials to the figures of a table: a cell for each comparison, backbone, data set and arm. Pure.

Only tasks that every arm of a comparison has ended on the data set and backbone are counted.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from simulations.studies import published
from simulations.studies.arms import Arm
from simulations.studies.cell import ALL_BACKBONES, AVERAGE, Cell, average
from simulations.studies.comparisons import Comparison
from simulations.studies.rates import sweep
from simulations.studies.samples import Sample, figures, over_backbones
from simulations.studies.study_settings import StudySettings
from simulations.studies.text import MILLION
from simulations.studies.trials import Key, Purpose, Trial, Trials
from tinytrain_core.selection.cost import MIB
from tinytrain_core.statistics import share_below, worst_decile


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

    def sample(self, name: str, numbers: Sequence[int]) -> Sample:
        """An arm on some of the tasks that are counted, beside the reference where this is not it."""
        arm, reference = self.trials[name], self.trials.get(self.comparison.reference)
        held = None if reference is None or name == self.comparison.reference else reference
        return Sample(
            [arm[n].accuracy_after or 0.0 for n in numbers],
            [arm[n].accuracy_before or 0.0 for n in numbers],
            [held[n].accuracy_after or 0.0 for n in numbers] if held else None,
        )


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


def _medians(trials: Sequence[Trial]) -> dict[str, Any]:
    def middle(value: Callable[[Trial], float]) -> float:
        return float(median(map(value, trials)))

    return {
        "updated_weights": middle(lambda t: t.updated_weights),
        "paper_memory_mib": middle(lambda t: t.paper_memory_bytes / MIB),
        "live_memory_mib": middle(lambda t: t.live_memory_bytes / MIB),
        "backward_mmacs": middle(lambda t: t.backward_macs / MILLION),
        "total_mmacs": middle(lambda t: t.total_macs / MILLION),
        "seconds": middle(lambda t: t.seconds),
    }


def _counts(trials: Sequence[Trial]) -> dict[str, Any]:
    outcomes = [trial.outcome for trial in trials]
    return {"diverged": outcomes.count("failed"), "unaffordable": outcomes.count("cannot_afford")}


def _printed(row: _Row, arm: Arm) -> float | None:
    """What the paper has of the same, where labels are its names."""
    found = published.accuracy(row.backbone, arm.method, row.data) if row.comparison.printed else None
    return None if found is None else found / 100


def _same_layers(arm: Arm, trials: Sequence[Trial]) -> int | None:
    """The tasks with the most common choice of layers, of a method that chooses them."""
    return Counter(trial.updated_layers for trial in trials).most_common(1)[0][1] if arm.is_tinytrain else None


def _cell(row: _Row, name: str) -> Cell:
    arm, trials, sample = row.comparison.arms[name], [row.trials[name][n] for n in row.counted], _sample(row, name)
    return Cell(
        comparison=row.comparison.name,
        data=row.data,
        backbone=row.backbone,
        name=name,
        arm=arm.name,
        training=arm.training,
        reference=row.comparison.reference,
        paper=_printed(row, arm),
        worst_decile=worst_decile(sample.after),
        worse_share=share_below(sample.gains),
        learning_rate=row.rates[name] or None,
        same_layers=_same_layers(arm, trials),
        without_task=len(row.numbers) - len(row.counted),
        **figures([sample]),
        **_medians(trials),
        **_counts(trials),
    )


def _sample(row: _Row, name: str) -> Sample:
    return row.sample(name, row.counted)


def _over_data(rows: Sequence[_Row], cells: Sequence[Cell], name: str) -> Cell:
    """The average of an arm over the data sets of one backbone."""
    own = [cell for cell in cells if cell.name == name]
    return replace(average(own, figures([_sample(row, name) for row in rows])), data=AVERAGE)


def _over_backbones(blocks: Sequence[Sequence[_Row]], cells: Sequence[Cell], name: str) -> Cell | None:
    """The average of an arm over the backbones of each task, then over the data sets; None where a set has no task."""
    samples = []
    for rows in zip(*blocks, strict=True):
        common = sorted(set.intersection(*(set(row.counted) for row in rows)))
        if not common:
            return None
        samples.append(over_backbones([row.sample(name, common) for row in rows]))
    found = average([cell for cell in cells if cell.name == name], figures(samples))
    return replace(found, backbone=ALL_BACKBONES, data=AVERAGE if len(samples) > 1 else found.data)


def _backbones(settings: StudySettings, comparison: Comparison) -> list[str]:
    """Those that there are of every training that the comparison needs."""
    return [b for b in settings.backbones if all(b in settings.files(a.training) for a in comparison.arms.values())]


def comparison_cells(settings: StudySettings, trials: Trials, comparison: Comparison) -> list[Cell]:
    """The cells of a comparison; their averages over several data sets and backbones, where all of them have tasks."""
    names, backbones = comparison.arms, _backbones(settings, comparison)
    blocks = [[_row(settings, trials, comparison, data, backbone) for data in settings.data] for backbone in backbones]
    cells, single = [], []
    for rows in blocks:
        own = [_cell(row, name) for row in rows if row.counted for name in names]
        whole = len(rows) > 1 and all(row.counted for row in rows)
        cells += own + ([_over_data(rows, own, name) for name in names] if whole else [])
        single += own
    overall = [_over_backbones(blocks, single, name) for name in names] if len(blocks) > 1 else []
    return cells + [cell for cell in overall if cell is not None]
