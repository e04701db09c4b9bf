"""One cell of a study's tables, and the average of several over data sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

AVERAGE = "average"
ALL_BACKBONES = "all backbones"
MEANS = (
    "paper",
    "worst_decile",
    "worse_share",
    "updated_weights",
    "paper_memory_mib",
    "live_memory_mib",
    "backward_mmacs",
    "total_mmacs",
    "seconds",
)
SUMS = ("tasks", "diverged", "unaffordable", "without_task")
UNKNOWN = ("learning_rate", "same_layers")


@dataclass(frozen=True)
class Cell:
    """What an arm came to on one data set and backbone. Accuracies and shares lie in [0, 1].

    Attributes:
        gain: over the backbone as it was, paired; difference: to the `reference`, paired. With their 95 % intervals and
            the p value of the paired t test.
        paper: what the paper prints of the same method, backbone and data.
        worst_decile: mean accuracy of the worst tenth of the tasks.
        worse_share: tasks on which it was less accurate than the backbone as it was.
        same_layers: of a method that chooses them, tasks that share the most common choice, channels apart.
        updated_weights, paper_memory_mib, live_memory_mib, backward_mmacs, total_mmacs, seconds: medians over the
            tasks; the MACs are of one step and image, and of all.
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
    reference: str
    difference: float | None
    difference_interval: float | None
    difference_p: float | None
    paper: float | None
    worst_decile: float
    worse_share: float
    learning_rate: float | None
    same_layers: int | None
    updated_weights: float
    paper_memory_mib: float
    live_memory_mib: float
    backward_mmacs: float
    total_mmacs: float
    seconds: float
    diverged: int
    unaffordable: int
    without_task: int

    @property
    def where(self) -> str:
        return f"{self.backbone}, {self.data}"

    @property
    def residual(self) -> float | None:
        """The accuracy less the paper's."""
        return None if self.paper is None else self.accuracy - self.paper


def _known(values: Sequence[float | None]) -> list[float]:
    """All of them, or none if one is missing."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def average(cells: Sequence[Cell], figures: Mapping[str, Any]) -> Cell:
    """One arm over several data sets, and backbones, all of which weigh the same.

    Args:
        figures: accuracy, gain and difference, which follow from the tasks (`samples.figures`).
    """
    columns = {field.name: [getattr(cell, field.name) for cell in cells] for field in fields(Cell)}
    found: dict[str, Any] = {name: fmean(known) if (known := _known(columns[name])) else None for name in MEANS}
    found |= {name: sum(columns[name]) for name in SUMS}
    return replace(cells[0], **found | dict.fromkeys(UNKNOWN) | dict(figures))
