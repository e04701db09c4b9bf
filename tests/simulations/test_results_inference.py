"""The intervals and tests of comparisons against textbook formulas."""

import math
import random
from itertools import product
from statistics import fmean, variance

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from simulations.results.inference import holm, independent, signed_rank_p, wilson


@pytest.mark.parametrize(("part", "whole"), [(0, 10), (3, 10), (10, 10), (157, 1000)])
def test_wilson_against_its_formula(part, whole):
    z, share = 1.959963984540054, part / whole
    middle = (share + z**2 / (2 * whole)) / (1 + z**2 / whole)
    half = z / (1 + z**2 / whole) * math.sqrt(share * (1 - share) / whole + z**2 / (4 * whole**2))
    low, high = wilson(part, whole)
    assert low == pytest.approx(max(middle - half, 0), abs=1e-12)
    assert high == pytest.approx(min(middle + half, 1), abs=1e-12)


def test_independent_groups_against_welch():
    rng = random.Random(1)
    values, others = [rng.gauss(1, 1) for _ in range(20)], [rng.gauss(0, 3) for _ in range(9)]
    found = independent(values, others)
    parts = variance(values) / 20, variance(others) / 9
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 19 + parts[1] ** 2 / 8)
    from scipy.stats import t

    assert found.mean == pytest.approx(fmean(values) - fmean(others))
    assert found.interval == pytest.approx(t.ppf(0.975, freedom) * math.sqrt(sum(parts)))
    assert found.p_value == pytest.approx(2 * t.sf(abs(found.mean) / math.sqrt(sum(parts)), freedom))
    assert found.count == 9


def test_groups_without_spread_or_of_one_value_give_no_nonsense():
    assert independent([1.0], [0.0, 0.5]).interval is None
    same = independent([0.5, 0.5], [0.5, 0.5, 0.5])
    assert (same.mean, same.interval, same.p_value) == (0.0, 0.0, 1.0)
    assert independent([0.5, 0.5], [0.25, 0.25]).p_value == 0.0


def test_ranks_tell_a_shift_and_no_difference():
    assert signed_rank_p([]) is None
    assert signed_rank_p([0.0, 0.0]) == 1.0
    assert signed_rank_p([0.1 + n / 1000 for n in range(30)]) < 1e-4
    assert signed_rank_p([(-1) ** n * (n + 1) / 10 for n in range(30)]) > 0.5


def test_holm_against_an_example_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.02, None]) == [None, 0.02, None]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(values):
    adjusted = holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, adjusted, strict=True))
    pairs = sorted(zip(values, adjusted, strict=True))
    assert [q for _, q in pairs] == sorted(q for _, q in pairs)


def test_few_pairs_have_the_exact_p_value_of_the_signed_ranks():
    assert signed_rank_p([0.1, 0.2, 0.3, 0.4, 0.5]) == 2 / 2**5, "as small as five pairs can make it"
    rng = random.Random(2)
    differences = [rng.gauss(0.3, 1) for _ in range(20)]
    assert signed_rank_p(differences) == pytest.approx(wilcoxon(differences, method="exact").pvalue)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9).filter(any))
def test_ties_and_zeros_are_counted_sign_by_sign(differences):
    by_rank = list(zip(rankdata(list(map(abs, differences))), differences, strict=True))
    ranks = [rank for rank, difference in by_rank if difference]
    middle = sum(ranks) / 2
    seen = abs(sum(rank for rank, difference in by_rank if difference > 0) - middle)
    all_signs = list(product([0, 1], repeat=len(ranks)))
    sums = [sum(rank for rank, plus in zip(ranks, signs, strict=True) if plus) for signs in all_signs]
    expected = sum(abs(total - middle) >= seen for total in sums) / len(sums)
    assert signed_rank_p([difference / 10 for difference in differences]) == pytest.approx(expected)


def test_how_floats_are_rounded_is_no_difference():
    assert signed_rank_p([(0.8 - 0.7) - (0.9 - 0.8)] * 9) == 1.0
