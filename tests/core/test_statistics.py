import json
import math
import statistics
from dataclasses import asdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.backbones.manifest import Accuracy
from tinytrain_core.statistics import (
    Mean,
    Paired,
    half_width,
    mean_of_means,
    paired,
    quantile,
    share_below,
    worst_decile,
)

accuracies = st.floats(0, 1)
several = st.lists(accuracies, min_size=2, max_size=40)


def test_an_interval_is_student_t():
    mean = Mean.of([0.1, 0.2, 0.3, 0.4])
    # s = sqrt(0.05 / 3), t(0.975, 3) = 3.182446
    assert mean.mean == pytest.approx(0.25)
    assert mean.interval == pytest.approx(3.182446 * math.sqrt(0.05 / 3) / 2, rel=1e-6)
    assert mean.count == 4
    assert mean.excludes_zero
    assert not Mean.of([0.0, 0.2, 0.3, 0.4, -0.1]).excludes_zero


def test_one_value_has_no_interval_and_none_has_no_mean():
    alone = Mean.of([0.5])
    assert alone == Mean(0.5, None, 1)
    assert not alone.excludes_zero
    with pytest.raises(statistics.StatisticsError):
        Mean.of([])


def test_a_paired_difference_by_hand():
    found = paired([0.7, 0.8, 0.6, 0.9], [0.6, 0.6, 0.6, 0.6])
    # differences .1 .2 0 .3: mean .15, s = sqrt(.05 / 3), t = .15 / (s / 2) = 2.323790, p with 3 degrees of freedom
    assert found.mean == pytest.approx(0.15)
    assert found.interval == pytest.approx(3.182446 * math.sqrt(0.05 / 3) / 2, rel=1e-6)
    assert found.p_value == pytest.approx(0.1027, abs=5e-5)
    assert found.count == 4


def test_pairs_without_a_spread():
    assert paired([0.5, 0.7], [0.5, 0.7]).p_value == 1
    always = paired([0.75, 0.5, 1.0], [0.5, 0.25, 0.75])
    assert (always.mean, always.interval, always.p_value) == (0.25, 0, 0)
    alone = paired([0.5], [0.25])
    assert (alone.mean, alone.interval, alone.p_value, alone.count) == (0.25, None, None, 1)


def test_pairs_have_to_match():
    with pytest.raises(ValueError, match="zip"):
        paired([0.1, 0.2], [0.1])
    with pytest.raises(statistics.StatisticsError):
        paired([], [])


@given(several, several)
def test_the_p_value_is_that_of_scipy(values, others):
    scipy = pytest.importorskip("scipy.stats")
    pairs = list(zip(values, others, strict=False))
    differences = [a - b for a, b in pairs]
    assume(len(pairs) > 1 and statistics.stdev(differences) > 1e-6)
    found = paired([a for a, _ in pairs], [b for _, b in pairs])
    assert found.p_value == pytest.approx(scipy.ttest_1samp(differences, 0).pvalue, rel=1e-6, abs=1e-12)


def test_a_mean_of_means_by_hand():
    found = mean_of_means([[0.1, 0.2, 0.3], [0.5, 0.9]])
    # means .2 and .7; s^2 / n of .01 / 3 and .08 / 2, sum .0433333, so that the error is .1040833; the degrees of
    # freedom are .0433333^2 / (.0033333^2 / 2 + .04^2 / 1) = 1.169550
    assert found.mean == pytest.approx(0.45)
    assert found.count == 5
    scipy = pytest.importorskip("scipy.stats")
    assert found.interval == pytest.approx(scipy.t.ppf(0.975, 1.169550) * 0.1040833, rel=1e-5)
    assert found.p_value == pytest.approx(2 * scipy.t.sf(0.45 / 0.1040833, 1.169550), rel=1e-5)


def test_means_of_groups_without_a_spread_or_without_an_interval():
    assert mean_of_means([[0.5, 0.5], [0.25, 0.25]]) == Paired(0.375, 0.0, 0.0, 4)
    assert mean_of_means([[0.0, 0.0], [0.0, 0.0]]) == Paired(0.0, 0.0, 1.0, 4)
    assert mean_of_means([[0.5], [0.25, 0.75]]) == Paired(0.5, None, None, 3)
    with pytest.raises(statistics.StatisticsError):
        mean_of_means([])


@given(several)
def test_of_one_group_it_is_the_t_test(values):
    assume(statistics.stdev(values) > 1e-6)
    found, plain = mean_of_means([values]), paired(values, [0.0] * len(values))
    assert (found.mean, found.count) == (plain.mean, plain.count)
    assert (found.interval, found.p_value) == pytest.approx((plain.interval, plain.p_value), rel=1e-6, abs=1e-12)


@given(several, several)
def test_of_two_groups_it_is_welchs_test(values, others):
    scipy = pytest.importorskip("scipy.stats")
    assume(statistics.stdev(values) > 1e-6 and statistics.stdev(others) > 1e-6)
    found = mean_of_means([values, [-other for other in others]])
    welch = scipy.ttest_ind(values, others, equal_var=False)
    assert found.p_value == pytest.approx(welch.pvalue, rel=1e-6, abs=1e-12)


@given(several, st.data())
def test_a_difference_turned_round_has_the_other_sign(values, data):
    others = data.draw(st.lists(accuracies, min_size=len(values), max_size=len(values)))
    there, back = paired(values, others), paired(others, values)
    assert there.mean == -back.mean
    assert (there.interval, there.p_value) == (back.interval, back.p_value)
    assert 0 <= there.p_value <= 1


@given(several)
def test_significant_at_five_per_cent_is_an_interval_without_zero(values):
    mean, test = Mean.of(values), paired(values, [0.0] * len(values))
    assume(abs(test.p_value - 0.05) > 1e-9)
    assert mean.excludes_zero == (test.p_value < 0.05)


def test_the_worst_decile_by_hand():
    assert worst_decile([0.4, 0.2, 0.3]) == 0.2
    assert worst_decile([i / 100 for i in range(20)]) == pytest.approx(0.005)
    assert worst_decile([i / 100 for i in range(29)]) == pytest.approx(0.005)
    assert worst_decile([i / 100 for i in range(30)]) == pytest.approx(0.01)


@given(st.lists(accuracies, min_size=1, max_size=60))
def test_the_worst_decile_lies_between_the_least_and_the_mean(values):
    slack = 1e-12
    assert min(values) - slack <= worst_decile(values) <= statistics.fmean(values) + slack
    assert worst_decile(values) == worst_decile(values[::-1])


def test_a_share_is_of_what_is_strictly_below():
    assert share_below([-0.1, 0.0, 0.1, 0.2]) == 0.25
    assert share_below([0.5, 0.6, 0.7], threshold=0.6) == pytest.approx(1 / 3)


def test_quantiles_by_hand():
    values = [0.4, 0.1, 0.3, 0.2, 0.5]
    assert [quantile(values, share) for share in (0, 0.5, 1)] == [0.1, 0.3, 0.5]
    assert quantile(values, 0.1) == pytest.approx(0.14)
    assert quantile([0.7], 0.9) == 0.7
    with pytest.raises(statistics.StatisticsError):
        quantile([], 0.5)
    with pytest.raises(ValueError, match=r"a quantile of 1\.5"):
        quantile(values, 1.5)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values, share):
    numpy = pytest.importorskip("numpy")
    assert quantile(values, share) == pytest.approx(float(numpy.quantile(values, share)), rel=1e-9, abs=1e-9)


def test_a_half_width_needs_two_values():
    with pytest.raises(statistics.StatisticsError):
        half_width([0.5])


def test_a_manifest_has_the_same_figures_under_its_own_names():
    values = [0.5, 0.75, 1.0]
    mean = asdict(Mean.of(values))
    expected = {"mean": mean["mean"], "interval": mean["interval"], "episodes": mean["count"]}
    assert json.loads(Accuracy.of(values).model_dump_json()) == expected
