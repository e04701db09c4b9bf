"""The accuracies of an arm on the tasks of a data set, and the figures of one or of several data sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tinytrain_core.statistics import mean_of_means

Values = Sequence[float]


@dataclass(frozen=True)
class Sample:
    """An arm on one data set, task by task.

    Attributes:
        before: of the backbone as it was. reference: of what the arm is held against; None where there is none, or
            where it is this arm.
    """

    after: Values
    before: Values
    reference: Values | None

    @property
    def gains(self) -> Values:
        return [after - before for after, before in zip(self.after, self.before, strict=True)]

    @property
    def differences(self) -> Values | None:
        if self.reference is None:
            return None
        return [after - other for after, other in zip(self.after, self.reference, strict=True)]


def _task_means(values: Sequence[Values]) -> Values:
    return [fmean(of_task) for of_task in zip(*values, strict=True)]


def over_backbones(samples: Sequence[Sample]) -> Sample:
    """The mean over backbones of each task: they see the same tasks, so that they are not independent."""
    references = [sample.reference for sample in samples if sample.reference is not None]
    after, before = _task_means([s.after for s in samples]), _task_means([s.before for s in samples])
    return Sample(after, before, _task_means(references) if references else None)


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """The figures over data sets, which are independent and weigh the same; of one they are those of paired t tests."""
    accuracy, gain = mean_of_means([s.after for s in samples]), mean_of_means([s.gains for s in samples])
    found: dict[str, Any] = {
        "tasks": accuracy.count,
        "accuracy": accuracy.mean,
        "accuracy_interval": accuracy.interval,
        "gain": gain.mean,
        "gain_interval": gain.interval,
        "gain_p": gain.p_value,
    }
    return found | _difference([differences for s in samples if (differences := s.differences) is not None])


def _difference(groups: Sequence[Values]) -> dict[str, Any]:
    """To the reference, where there is one."""
    if not groups:
        return dict.fromkeys(("difference", "difference_interval", "difference_p"))
    found = mean_of_means(groups)
    return {"difference": found.mean, "difference_interval": found.interval, "difference_p": found.p_value}
