"""Means with their 95 % intervals by Student's t, paired differences, quantiles, and what became of the worst."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import StatisticsError, fmean, stdev, variance

CONFIDENCE = 0.95
WORST_SHARE = 10  # one in so many


def half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean of two or more independent values, in their unit.

    Raises:
        statistics.StatisticsError: fewer than two values.
    """
    from scipy.stats import t as student_t  # which a device does not need

    spread = stdev(values)
    quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * spread / math.sqrt(len(values))


@dataclass(frozen=True)
class Mean:
    """A mean of `count` independent values, and half its 95 % interval; one value alone has none."""

    mean: float
    interval: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Of one or more values.

        Raises:
            statistics.StatisticsError: there is none.
        """
        return cls(fmean(values), half_width(values) if len(values) > 1 else None, len(values))

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval does not reach to zero."""
        return self.interval is not None and abs(self.mean) > self.interval


@dataclass(frozen=True)
class Paired:
    """The mean difference of `count` pairs, half its 95 % interval, and the p value; one pair alone has neither."""

    mean: float
    interval: float | None
    p_value: float | None
    count: int


def paired(values: Sequence[float], others: Sequence[float]) -> Paired:
    """`values` - `others`, pair by pair, and the two-sided paired t test of their being the same.

    Raises:
        ValueError: they are not as many, or none.
    """
    differences = [value - other for value, other in zip(values, others, strict=True)]
    found = Mean.of(differences)
    return Paired(found.mean, found.interval, _p_value(differences), found.count)


def _p_value(differences: Sequence[float]) -> float | None:
    from scipy.stats import t as student_t

    if len(differences) < 2:
        return None
    if not any(differences):
        return 1.0
    error = stdev(differences) / math.sqrt(len(differences))
    return float(2 * student_t.sf(abs(fmean(differences)) / error, len(differences) - 1)) if error else 0.0


def mean_of_means(groups: Sequence[Sequence[float]]) -> Paired:
    """The mean of the means of independent groups, which weigh the same, and the two-sided t test of its being zero.

    Its squared standard error is the sum of s^2 / n of the groups over their number squared, with the degrees of
    freedom of Welch and Satterthwaite; of one group it is the plain t test. A group of one value leaves no interval.

    Raises:
        statistics.StatisticsError: there is no group, or an empty one.
    """
    mean, count = fmean(map(fmean, groups)), sum(map(len, groups))
    if min(map(len, groups)) < 2:
        return Paired(mean, None, None, count)
    parts = [variance(group) / len(group) for group in groups]
    total = sum(parts)
    if not total:
        return Paired(mean, 0.0, 0.0 if mean else 1.0, count)
    freedom = 1 / sum((part / total) ** 2 / (len(group) - 1) for part, group in zip(parts, groups, strict=True))
    return Paired(mean, *_welch(mean, math.sqrt(total) / len(groups), freedom), count)


def _welch(mean: float, error: float, freedom: float) -> tuple[float, float]:
    """Half the 95 % interval, and the p value."""
    from scipy.stats import t as student_t

    half = float(student_t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return half, float(2 * student_t.sf(abs(mean) / error, freedom))


def worst_decile(values: Sequence[float]) -> float:
    """The mean of the lowest tenth of one or more values, of one value at least.

    Raises:
        statistics.StatisticsError: there is none.
    """
    return fmean(sorted(values)[: max(len(values) // WORST_SHARE, 1)])


def share_below(values: Sequence[float], threshold: float = 0.0) -> float:
    """The share of one or more values that are strictly below the threshold.

    Raises:
        statistics.StatisticsError: there is none.
    """
    return fmean(value < threshold for value in values)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of one or more values lie, linear between neighbours (Hyndman and Fan's type 7).

    Raises:
        statistics.StatisticsError: there is none.
        ValueError: the share is not between 0 and 1.
    """
    if not values:
        raise StatisticsError("no quantile of no values")
    if not 0 <= share <= 1:
        raise ValueError(f"a quantile of {share}; expected a share between 0 and 1")
    ordered, place = sorted(values), share * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
