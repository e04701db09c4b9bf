"""The one interval of the project: the 95 % interval of a mean by Student's t."""

import math
from collections.abc import Sequence
from statistics import stdev

CONFIDENCE = 0.95


def half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean of two or more independent values, in their unit.

    Raises:
        statistics.StatisticsError: fewer than two values.
    """
    from scipy.stats import t as student_t  # which a device does not need

    spread = stdev(values)
    quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * spread / math.sqrt(len(values))
