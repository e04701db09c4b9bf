"""The intervals and tests that comparing fleets needs beside those of `tinytrain_core.statistics`."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from tinytrain_core.statistics import CONFIDENCE, Paired

EXACT_PAIRS = 50
DIGITS = 12  # after the point; what differs beyond them is how 0.8 - 0.7 and 0.9 - 0.8 were rounded


def wilson(part: int, whole: int) -> tuple[float, float]:
    """The 95 % score interval (Wilson 1927) of a share of which `part` of `whole` independent devices were seen.

    Raises:
        ValueError: `whole` is not positive, or smaller than `part`.
    """
    from scipy.stats import binomtest

    found = binomtest(part, whole).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def independent(values: Sequence[float], others: Sequence[float]) -> Paired:
    """The mean of `values` less that of `others`, with Welch's interval and two-sided p value; none of one value.

    Returns:
        Its `count` is that of the smaller group.

    Raises:
        statistics.StatisticsError: either is empty.
    """
    from scipy.stats import ttest_ind

    difference, count = fmean(values) - fmean(others), min(len(values), len(others))
    if count < 2:
        return Paired(difference, None, None, count)
    if len(set(values)) == len(set(others)) == 1:  # no spread at all, of which scipy makes NaN
        return Paired(difference, 0.0, 0.0 if difference else 1.0, count)
    found = ttest_ind(values, others, equal_var=False)
    interval = found.confidence_interval(CONFIDENCE)
    return Paired(difference, float(interval.high - interval.low) / 2, float(found.pvalue), count)


def signed_rank_p(differences: Sequence[float]) -> float | None:
    """The two-sided p value of Wilcoxon's signed-rank test, zeros ranked and left out (Pratt 1959); None of no pair.

    Exact for up to `EXACT_PAIRS` pairs, ties and zeros as they are; for more, where it is close, the normal one's.
    """
    from scipy.stats import wilcoxon

    exact = [round(difference, DIGITS) for difference in differences]
    if not exact:
        return None
    if not any(exact):
        return 1.0
    if len(exact) <= EXACT_PAIRS:
        return _exact_rank_p(exact)
    return float(wilcoxon(exact, zero_method="pratt", method="approx").pvalue)


def _exact_rank_p(differences: Sequence[float]) -> float:
    """The share of all ways to give the differences signs whose rank sum is as far from the middle, or farther."""
    from scipy.stats import rankdata

    doubled = (2 * rankdata([abs(difference) for difference in differences])).astype(int).tolist()
    ranks = [rank for rank, difference in zip(doubled, differences, strict=True) if difference]
    seen = sum(rank for rank, difference in zip(doubled, differences, strict=True) if difference > 0)
    ways = Counter({0: 1})  # of each sum of the ranks with a plus, doubled because ties have halves
    for rank in ranks:
        ways.update({total + rank: count for total, count in list(ways.items())})
    far = abs(2 * seen - sum(ranks))
    as_far: int = sum(count for total, count in ways.items() if abs(2 * total - sum(ranks)) >= far)
    share: float = as_far / 2 ** len(ranks)
    return share


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (1979) of p values of one family; what has none stays so and is not counted."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = highest
    return adjusted
