from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.fleet.rollout.figure import Figure
from server.fleet.rollout.gates import figures, hopeless, judge
from server.fleet.rollout.sample import Sample, sample
from server.fleet.rollout.spec import Gates
from server.fleet.rollout.state import Progress, Step
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome
from tinytrain_core.statistics import half_width


def node(step: Step, *found: Figure, devices: int = 0) -> Progress:
    numbers = tuple(range(1, 1 + (devices or len(found))))
    return Progress("0" * 64, 0, numbers, step, attempt=1, figures=found)


def gained(device: int, gain: float, previous: float | None = None) -> Figure:
    outcome = Outcome.ADAPTED if gain >= 0 else Outcome.KEPT_BASE
    return Figure(device, 1, device, outcome, before=0.5, after=0.5 + gain, previous=previous)


def failed(device: int, error: ErrorCode = ErrorCode.CRASHED) -> Figure:
    return Figure(device, 1, device, Outcome.FAILED, error)


def of(*found: Figure, silent: int = 0, unknown: int = 0) -> Sample:
    return Sample(len(found) + silent + unknown, found, silent)


def test_a_device_counts_once_and_silence_after_an_order_is_a_failure() -> None:
    nodes = [
        node(Step.DONE, gained(1, 0.1), gained(2, -0.1)),
        node(Step.FAILED, gained(1, 0.1), devices=3),
        node(Step.REFUSED, devices=1),
        node(Step.ORDERED, devices=4),
        node(Step.FAILED, failed(1, ErrorCode.TOO_LATE)),
    ]
    found = sample(nodes, Gates())
    assert (found.devices, found.counted, found.failed, found.blamed) == (11, 7, 4, 0)


def test_errors_of_the_images_are_not_held_against_a_release() -> None:
    nodes = [node(Step.DONE, failed(1, ErrorCode.NO_IMAGES)), node(Step.DONE, gained(1, 0.1))]
    assert sample(nodes, Gates()).failed == 0
    assert sample(nodes, Gates()).devices == 1
    assert sample(nodes, Gates(excused=())).failed == 1


@pytest.mark.parametrize(
    ("of", "gates", "message"),
    [
        (of(*[gained(n, 0.1) for n in range(9)], failed(9)), Gates(), ""),
        (of(*[gained(n, 0.1) for n in range(8)], failed(8), failed(9)), Gates(), "2 of 10 devices failed; at most 10%"),
        (
            of(*[gained(n, 0.1) for n in range(8)], silent=2),
            Gates(),
            "2 of 10 devices failed, 2 of them without a word",
        ),
        (of(*[gained(n, 0.1 - 0.11 * (n % 2)) for n in range(10)]), Gates(), "5 of 10 devices are worse; at most 30%"),
        (of(*[gained(n, 0.1 * (n % 3)) for n in range(10)]), Gates(min_gain_lower_bound=0.1), "begins at"),
        (of(*[gained(n, 0.1, 0.8) for n in range(10)]), Gates(), "accuracy changed by -0.200 against another release"),
        (of(*[gained(n, 0.1, 0.8) for n in range(10)]), Gates(max_drop=None), ""),
    ],
)
def test_a_gate_says_what_was_found_and_what_is_allowed(of: Sample, gates: Gates, message: str) -> None:
    verdict = judge(of, gates)
    assert verdict.passed == (not message)
    assert message in verdict.reason


def test_the_bound_is_that_of_students_t() -> None:
    gains = [0.01, 0.05, -0.02, 0.08, 0.03]
    found = figures(of(*[gained(n, gain) for n, gain in enumerate(gains)]), Gates())
    measured = [0.5 + gain - 0.5 for gain in gains]
    assert found["gain_lower_bound"] == pytest.approx(fmean(measured) - half_width(measured))
    assert found["mean_gain"] == pytest.approx(0.03)


def test_with_too_few_nothing_else_is_judged() -> None:
    few = of(failed(1), failed(2), unknown=8)
    assert (judge(few, Gates()).passed, judge(few, Gates()).guilty) == (False, False)
    assert judge(few, Gates(too_few="pass")).passed
    assert not judge(few, Gates(min_reports=2)).passed
    assert hopeless(few, Gates()) is None


FIGURES = st.lists(
    st.builds(lambda gain: failed(1) if gain is None else gained(1, gain), st.none() | st.floats(-0.5, 0.5)),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(FIGURES, FIGURES, st.floats(0, 1), st.floats(0, 1), st.integers(1, 6))
def test_what_is_hopeless_never_passes_whatever_the_rest_reports(
    known: list[Figure], rest: list[Figure], share_failed: float, share_worse: float, least: int
) -> None:
    gates = Gates(max_share_failed=share_failed, max_share_worse=share_worse, min_reports=least)
    if hopeless(of(*known, unknown=len(rest)), gates):
        assert not judge(of(*known, *rest), gates).passed
        assert not judge(of(*known, silent=len(rest)), gates).passed
