"""What leaves a device that protects its figures: noisy accuracies, and nothing else that depends on its images."""

import math
import random
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from client.agent.privacy import STEPS_OF_ONE, PrivacyConfig, protect
from client.personaliser import personalise_node
from tests.client.conftest import make_node, write_images
from tinytrain_core.backbones.weights import digest
from tinytrain_core.errors import ErrorCode
from tinytrain_core.privacy import epsilon_spent, gain_deviation, gain_half_width, noise_deviation
from tinytrain_core.report import NOISY, PUBLIC, Outcome, PersonalisationReport, failure, validate_report
from tinytrain_core.statistics import Mean
from tinytrain_core.wire import PersonaliseRequest

CONFIG = PrivacyConfig(noise_multiplier=2.0, max_reports=3)
accuracies = st.floats(0, 1)
endings = st.sampled_from([Outcome.ADAPTED, Outcome.KEPT_BASE, Outcome.CANNOT_AFFORD, Outcome.NOT_ADAPTED])


@st.composite
def outcomes_of_data(draw: st.DrawFn) -> dict[str, object]:
    """Everything in a report that another data set may change."""
    channels = draw(st.lists(st.integers(0, 40), min_size=1, max_size=6))
    whole = st.integers(0, 1_000)
    images = {name: draw(whole) for name in ("ways", "support_images", "holdout_images", "rejected_images")}
    sizes = {name: draw(whole) for name in ("live_memory_bytes", "measured_memory_bytes", "storage_bytes")}
    work = {
        name: draw(whole) for name in ("dropped_classes", "steps", "updated_weights", "backward_macs", "total_macs")
    }
    times = {name: draw(st.floats(0, 100)) for name in ("loss_first", "loss_last", "estimated_s", "wall_s")}
    layers = {"updated_channels": channels, "updated_layers": sum(n > 0 for n in channels)}
    shares = {"accuracy_before": draw(accuracies), "accuracy_after": draw(accuracies)}
    return images | sizes | work | times | layers | shares | {"outcome": int(draw(endings))}


def report(fields: dict[str, object]) -> PersonalisationReport:
    identity = {"device": 7, "profile": 2, "round": 3, "method": 1, "memory_budget_bytes": 900}
    return PersonalisationReport.model_validate(identity | fields)


def silent(told: PersonalisationReport) -> dict[str, object]:
    return {name: value for name, value in told.model_dump().items() if not name.startswith("accuracy_")}


@given(outcomes_of_data(), outcomes_of_data(), st.integers(0, 5))
def test_two_data_sets_differ_in_their_accuracies_alone(
    one: dict[str, object], other: dict[str, object], spent: int
) -> None:
    first, second = protect(report(one), CONFIG, spent), protect(report(other), CONFIG, spent)
    assert silent(first.report) == silent(second.report)
    assert first.spent == second.spent
    assert validate_report(first.report.model_dump()) == first.report
    if spent >= CONFIG.max_reports:
        assert first.report == second.report


@given(outcomes_of_data(), st.integers(0, 2**32))
def test_the_noise_is_what_is_added_and_no_other_draw_is_made(fields: dict[str, object], seed: int) -> None:
    """The same draws on another accuracy differ by the accuracies' difference, to the grid."""
    there = protect(report(fields), CONFIG, 0, random.Random(seed)).report
    base = protect(report(fields | {"accuracy_before": 0.0, "accuracy_after": 0.0}), CONFIG, 0, random.Random(seed))
    for name in ("accuracy_before", "accuracy_after"):
        added = getattr(there, name) - getattr(base.report, name)
        assert added == pytest.approx(fields[name], abs=1 / STEPS_OF_ONE)
        assert (getattr(there, name) * STEPS_OF_ONE).is_integer()


def test_two_real_data_sets(tmp_path: Path, backbone_data: bytes) -> None:
    """Another number of classes and images, an unreadable file: personalised for real."""
    few, many = write_images(tmp_path / "few", 2, 4), write_images(tmp_path / "many", 4, 9)
    (many / "class0" / "broken.png").write_bytes(b"no image")
    request = PersonaliseRequest(digest=digest(backbone_data), round=3, method="last_layer", steps=1)
    reports = []
    for folder in (few, many):
        device = {"number": 5, "profile": "pi_4", "data": str(folder), "shots": 3, "holdout": 4}
        reports += personalise_node(make_node(tmp_path / folder.name, device), request, backbone_data)
    assert reports[0].ways != reports[1].ways
    assert reports[0].outcome != Outcome.FAILED != reports[1].outcome
    first, second = (protect(plain, CONFIG, 0).report for plain in reports)
    assert silent(first) == silent(second)
    assert (first.device, first.round, first.profile) == (5, 3, reports[0].profile)
    assert first.method == reports[0].method > 0
    assert first.memory_budget_bytes == reports[0].memory_budget_bytes > 0


def test_so_many_reports_and_no_more() -> None:
    plain, spent = report({"accuracy_before": 0.5, "accuracy_after": 0.75, "outcome": 1}), 0
    for number in range(5):
        protected = protect(plain, CONFIG, spent)
        spent = protected.spent
        assert protected.report.outcome == Outcome.WITHHELD
        assert protected.report.has_accuracies == (number < 3)
        assert protected.spent == min(number + 1, 3)
    assert protected.report.gain is None


@given(outcomes_of_data(), st.sampled_from([ErrorCode.TRAINING_DIVERGED, ErrorCode.NO_IMAGES]))
def test_a_failure_is_told_as_such_and_spends_nothing(fields: dict[str, object], code: ErrorCode) -> None:
    plain = report(fields | {"outcome": int(Outcome.FAILED), "error": int(code)})
    protected = protect(plain, CONFIG, 2)
    assert protected.report == failure(code, 7, 2, 3)
    assert protected.spent == 2


def test_a_report_is_noised_once() -> None:
    protected = protect(report({"outcome": 1}), CONFIG, 0).report
    with pytest.raises(ValueError, match="device 7 is protected already"):
        protect(protected, CONFIG, 1)


def test_fresh_noise_is_not_that_of_the_run() -> None:
    """Nothing that a seed decides: not Python's generator, and not twice the same."""
    plain, told = report({"outcome": 1, "accuracy_before": 0.5, "accuracy_after": 0.5}), set()
    for _ in range(8):
        random.seed(0)
        told.add(protect(plain, CONFIG, 0).report.accuracy_before)
    assert len(told) > 1


def test_the_noise_is_gaussian_and_not_clipped() -> None:
    rng, plain = random.Random(1), report({"outcome": 1, "accuracy_before": 0.9, "accuracy_after": 1.0})
    told = [protect(plain, CONFIG, 0, rng).report for _ in range(4_000)]
    for values, mean in (([r.accuracy_before for r in told], 0.9), ([r.accuracy_after for r in told], 1.0)):
        deviation = noise_deviation(2.0)
        assert statistics.fmean(values) == pytest.approx(mean, abs=4 * deviation / math.sqrt(4_000))
        assert statistics.stdev(values) == pytest.approx(deviation, rel=0.05)
        within = statistics.fmean(abs(value - mean) < deviation for value in values)
        assert within == pytest.approx(0.6827, abs=0.03)
    gains = [r.gain for r in told if r.gain is not None]
    assert statistics.stdev(gains) == pytest.approx(gain_deviation(2.0), rel=0.05)


@settings(deadline=None, max_examples=4)
@given(st.sampled_from([500, 2_000]), st.floats(0.5, 4.0), st.integers(0, 2**32))
def test_the_price_of_a_mean_is_what_the_formula_says(devices: int, multiplier: float, seed: int) -> None:
    """Devices whose gains are 0.1 with a spread of 0.05, as the server sees them."""
    rng, config = random.Random(seed), PrivacyConfig(noise_multiplier=multiplier)
    told = []
    for _ in range(devices):
        plain = report({"outcome": 1, "accuracy_before": 0.5, "accuracy_after": min(0.6 + rng.gauss(0, 0.05), 1.0)})
        told.append(protect(plain, config, 0, rng).report.gain)
    mean = Mean.of([gain for gain in told if gain is not None])
    predicted = gain_half_width(multiplier, devices, 0.05)
    assert mean.interval == pytest.approx(predicted, rel=0.12)
    assert mean.mean == pytest.approx(0.1, abs=3 * predicted)


def test_settings_and_what_they_promise() -> None:
    assert CONFIG.epsilon == epsilon_spent(2.0, 3, 1e-6)
    for wrong in ({"noise_multiplier": 0.0}, {"noise_multiplier": 1.0, "max_reports": 0}, {"noise": 1.0}, {}):
        with pytest.raises(ValidationError):
            PrivacyConfig.model_validate(wrong)


def test_every_field_is_either_public_or_noisy_or_withheld() -> None:
    told = protect(report({"outcome": 1, "ways": 3, "wall_s": 2.0}), CONFIG, 0).report
    fields = PersonalisationReport.model_fields
    assert set(fields) >= PUBLIC | NOISY
    for name in set(fields) - PUBLIC - NOISY:
        assert getattr(told, name) == fields[name].default, name
