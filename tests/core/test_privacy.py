"""The promise of noisy reports: its formula against Google's accountants, its price, and reports that withhold."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_imports import TOP, imported
from tinytrain_core.errors import EgressError
from tinytrain_core.privacy import (
    MAX_MULTIPLIER,
    MIN_MULTIPLIER,
    delta_spent,
    devices_needed,
    epsilon_spent,
    gain_deviation,
    gain_half_width,
    noise_deviation,
    noise_for,
)
from tinytrain_core.report import MAX_NOISY, Outcome, PersonalisationReport, validate_report
from tinytrain_core.wire import report_record, validate_metrics

multipliers = st.floats(0.5, MAX_MULTIPLIER)
counts = st.integers(1, 200)
deltas = st.sampled_from([1e-9, 1e-6, 1e-3])
WITHHELD = PersonalisationReport(
    device=3, profile=1, outcome=int(Outcome.WITHHELD), accuracy_before=-7.5, accuracy_after=9.25, holdout_images=1
).model_dump()


def test_one_report_by_hand() -> None:
    """With multiplier 1 and epsilon 1 delta is Phi(-1/2) - e Phi(-3/2)."""
    phi = {-0.5: 0.308538, -1.5: 0.066807}
    assert delta_spent(1.0, 1.0, 1) == pytest.approx(phi[-0.5] - math.e * phi[-1.5], abs=5e-6)
    assert delta_spent(0.0, 1.0, 1) == pytest.approx(0.382925, abs=5e-6)  # the total variation, 2 Phi(1/2) - 1


@given(multipliers, counts, deltas)
def test_epsilon_is_the_least_for_its_delta(multiplier: float, reports: int, delta: float) -> None:
    epsilon = epsilon_spent(multiplier, reports, delta)
    if epsilon == 0:
        assert delta_spent(0.0, multiplier, reports) <= delta
    else:
        assert delta_spent(epsilon, multiplier, reports) == pytest.approx(delta, rel=1e-6)
        assert epsilon_spent(multiplier, 4 * reports, delta) == pytest.approx(
            epsilon_spent(multiplier / 2, reports, delta), rel=1e-9
        )


@given(multipliers, counts, deltas)
def test_the_noise_for_an_epsilon_is_its_inverse(multiplier: float, reports: int, delta: float) -> None:
    epsilon = epsilon_spent(multiplier, reports, delta)
    if epsilon > 0.01:
        assert noise_for(epsilon, reports, delta) == pytest.approx(multiplier, rel=1e-6)


@given(counts, deltas)
def test_more_noise_and_fewer_reports_promise_more(reports: int, delta: float) -> None:
    assert epsilon_spent(2.0, reports, delta) < epsilon_spent(1.0, reports, delta)
    assert epsilon_spent(2.0, reports, delta) < epsilon_spent(2.0, reports + 1, delta)


@settings(deadline=None, max_examples=8)
@given(st.floats(1.0, 10.0), st.integers(1, 40), st.sampled_from([1e-6, 1e-4]))
def test_it_agrees_with_the_accountants(multiplier: float, reports: int, delta: float) -> None:
    accounting = pytest.importorskip("dp_accounting")
    pld, rdp = pytest.importorskip("dp_accounting.pld"), pytest.importorskip("dp_accounting.rdp")
    event = accounting.SelfComposedDpEvent(accounting.GaussianDpEvent(multiplier), reports)
    epsilon = epsilon_spent(multiplier, reports, delta)
    assert pld.PLDAccountant().compose(event).get_epsilon(delta) == pytest.approx(epsilon, rel=1e-3)
    bound = rdp.RdpAccountant().compose(event).get_epsilon(delta)
    assert epsilon <= bound <= 1.2 * epsilon


def test_extremes_do_not_overflow() -> None:
    assert epsilon_spent(MIN_MULTIPLIER, 10_000, 1e-6) == pytest.approx(504_752.4, rel=1e-6)
    assert epsilon_spent(MAX_MULTIPLIER, 1, 0.5) == 0
    assert delta_spent(1e6, MIN_MULTIPLIER, 1) == 0


def test_the_price_by_hand() -> None:
    assert noise_deviation(2.0) == pytest.approx(2 * math.sqrt(2))
    assert gain_deviation(2.0) == pytest.approx(4.0)
    assert gain_half_width(2.0, 10_000) == pytest.approx(1.959964 * 4 / 100, rel=1e-6)
    assert gain_half_width(0.0, 100, spread=0.1) == pytest.approx(0.01959964, rel=1e-6)
    needed = devices_needed(2.0, 0.01, spread=0.1)
    assert gain_half_width(2.0, needed, 0.1) <= 0.01 < gain_half_width(2.0, needed - 1, 0.1)


def test_a_withheld_report_is_a_report() -> None:
    assert validate_report(WITHHELD).model_dump() == WITHHELD
    (again,) = validate_metrics({report_record(0): WITHHELD})  # type: ignore[misc, arg-type]
    assert again.has_accuracies
    assert (again.gain, again.worse) == (16.75, None)
    silent = validate_report(WITHHELD | {"accuracy_before": 0.0, "accuracy_after": 0.0, "holdout_images": 0})
    assert (silent.has_accuracies, silent.gain, silent.worse) == (False, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"ways": 5},
        {"loss_last": 0.5},
        {"wall_s": 2.0},
        {"steps": 40},
        {"updated_layers": 1, "updated_channels": [4]},
        {"updated_channels": [0, 0]},
        {"live_memory_bytes": 1},
        {"total_macs": 1},
        {"holdout_images": 2},
        {"holdout_images": 0},
        {"accuracy_before": MAX_NOISY + 1.0},
        {"accuracy_after": math.nan},
        {"outcome": int(Outcome.ADAPTED)},
        {"error": 13},
    ],
)
def test_a_withheld_report_tells_nothing_else(change: dict[str, object]) -> None:
    with pytest.raises(EgressError):
        validate_report(WITHHELD | change)


def test_devices_do_not_need_the_accountants() -> None:
    for package in ("client", "tinytrain_core"):
        files: list[Path] = list((TOP / package).rglob("*.py"))
        assert files
        assert not [file for file in files if "dp_accounting" in set(imported(file))]
