"""One cell of a study's tables, and the average of several over data sets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

AVERAGE = "average"
MEANS = (
    "accuracy",
    "gain",
    "difference",
    "worst_decile",
    "worse_share",
    "updated_weights",
    "paper_memory_mib",
    "backward_mmacs",
    "total_mmacs",
    "seconds",
)
INTERVALS = ("accuracy_interval", "gain_interval", "difference_interval")
SUMS = ("tasks", "diverged", "unaffordable", "without_task")
UNKNOWN = ("gain_p", "difference_p", "learning_rate")


@dataclass(frozen=True)
class Cell:
    """What an arm came to on one data set and backbone. Accuracies and shares lie in [0, 1].

    Attributes:
        gain: over the backbone as it was, paired; difference: to the comparison's reference, paired. With their
            95 % intervals and the p value of the paired t test.
        worst_decile: mean accuracy of the worst tenth of the tasks.
        worse_share: tasks on which it was less accurate than the backbone as it was.
        updated_weights, paper_memory_mib, backward_mmacs, total_mmacs, seconds: medians over the tasks; the MACs are
            of one step and image, and of all.
        diverged, unaffordable: tasks among them; they count with the accuracy of the backbone as it was.
        without_task: tasks that are left out, because their images were not enough.
    """

    comparison: str
    data: str
    backbone: str
    name: str
    arm: str
    training: str
    tasks: int
    accuracy: float
    accuracy_interval: float | None
    gain: float
    gain_interval: float | None
    gain_p: float | None
    difference: float | None
    difference_interval: float | None
    difference_p: float | None
    worst_decile: float
    worse_share: float
    learning_rate: float | None
    updated_weights: float
    paper_memory_mib: float
    backward_mmacs: float
    total_mmacs: float
    seconds: float
    diverged: int
    unaffordable: int
    without_task: int


def _known(values: Sequence[float | None]) -> list[float]:
    """All of them, or none if one is missing."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _root_of_squares(intervals: Sequence[float | None]) -> float | None:
    known = _known(intervals)
    return math.sqrt(sum(interval**2 for interval in known)) / len(known) if known else None


def average(cells: Sequence[Cell]) -> Cell:
    """One arm over several data sets, all of which weigh the same: the mean of their means.

    Tasks of different sets are independent, so the standard error over k sets is sqrt(sum se^2) / k. Each se comes
    times the quantile of its own set, which is the common one for sets of one size.
    """
    columns = {field.name: [getattr(cell, field.name) for cell in cells] for field in fields(Cell)}
    found: dict[str, Any] = {name: fmean(known) if (known := _known(columns[name])) else None for name in MEANS}
    found |= {name: _root_of_squares(columns[name]) for name in INTERVALS}
    found |= {name: sum(columns[name]) for name in SUMS}
    return replace(cells[0], data=AVERAGE, **found | dict.fromkeys(UNKNOWN))
