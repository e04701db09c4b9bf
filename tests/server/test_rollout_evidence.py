"""What a stage is judged on: how many devices have to tell, what only some of them tell, and what silence means."""

from dataclasses import replace

import pytest

from server.fleet.rollout import events, machine, phases
from server.fleet.rollout.figure import Figure
from server.fleet.rollout.gates import Result, findings, hopeless, judge
from server.fleet.rollout.sample import Sample, judged, sample
from server.fleet.rollout.spec import Gates, Stage
from server.fleet.rollout.state import Phase, RolloutState, Step
from tests.server.test_rollout_gates import failed, gained, node, of
from tests.server.test_rollout_machine import NAMES, SPEC, advance, heard, rollout
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import NodeStatus
from tinytrain_core.report import Outcome


def noisy(device: int, gain: float) -> Figure:
    return Figure(device, 1, device, Outcome.WITHHELD, before=0.5, after=0.5 + gain)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (of(*[noisy(n, 0.1) for n in range(10)]), "max_share_worse is not judged: 0 of 5"),
        (
            of(*[noisy(n, 0.1) for n in range(6)], *[gained(n, 0.1) for n in range(6, 10)]),
            "worse is not judged: 4 of 5",
        ),
        (of(*[noisy(n, 0.1) for n in range(10)]), "min_gain_lower_bound is not judged: 0 of 5"),
        (of(*[gained(n, 0.1, 0.8 if n < 4 else None) for n in range(10)]), "max_drop is not judged: 4 of 5"),
        (of(*[noisy(n, 0.1) for n in range(9)], gained(9, -0.01)), "max_share_worse is not judged: 1 of 5"),
    ],
)
def test_a_gate_of_which_too_few_tell_is_not_judged_and_the_stage_has_too_few(of: Sample, message: str) -> None:
    verdict = judge(of, Gates())
    assert (verdict.passed, verdict.guilty) == (False, False)
    assert message in verdict.reason
    assert hopeless(of, Gates()) is None
    assert judge(of, Gates(too_few="pass")).passed


def test_gates_that_are_off_need_nothing() -> None:
    off = Gates(max_share_worse=None, min_gain_lower_bound=None, max_drop=None)
    assert judge(of(*[noisy(n, 0.1) for n in range(10)]), off).passed


def test_at_the_first_release_there_is_nothing_to_fall_from() -> None:
    verdict = judge(of(*[gained(n, 0.1) for n in range(10)]), Gates())
    assert verdict.passed
    assert "max_drop is not judged: no device has reported another release" in verdict.reason


@pytest.mark.parametrize(("loss", "failed"), [(0.5, True), (0.0, False), (-0.5, False)])
def test_gains_with_noise_fail_a_release_only_where_their_whole_interval_is_below(loss: float, failed: bool) -> None:
    found = of(*[noisy(n, -loss + 0.1 * (n % 3 - 1)) for n in range(30)])
    verdict = judge(found, Gates(max_share_worse=None))
    assert (verdict.passed, verdict.guilty) == (False, failed)
    assert ("with noise ends at -0." in verdict.reason) == failed
    assert judge(found, Gates(max_share_worse=None, too_few="pass")).passed != failed
    exact = of(*[noisy(n, -0.5) for n in range(30)], *[gained(n, 0.1 + 0.001 * n) for n in range(30, 40)])
    assert judge(exact, Gates(max_share_worse=None)).passed  # there are enough exact ones


def test_accuracies_of_fewer_than_a_cohort_are_in_no_reason_and_no_figure() -> None:
    few = replace(of(*[gained(n, -0.1234, 0.8) for n in range(3)]), cohort=5)
    gates = Gates(min_reports=3)
    verdict = judge(few, gates)
    assert verdict.guilty
    assert "accuracy fell by more than 0.1 against another release" in verdict.reason
    assert "more than 30% of the devices are worse" in verdict.reason
    assert not any(word in verdict.reason for word in ("-0.123", "-0.3", "3 of 3"))
    assert {verdict.figures[name] for name in ("share_worse", "mean_gain", "gain_lower_bound", "mean_change")} == {None}
    stopped = hopeless(few, gates)
    assert stopped is not None
    assert "more than 30% of the devices are worse" in stopped.reason
    assert "accuracy changed by -0.300" in judge(replace(few, cohort=3), gates).reason


@pytest.mark.parametrize(
    ("of", "guilty"),
    [
        (of(*[gained(n, 0.1) for n in range(8)], silent=2), False),
        (of(*[gained(n, 0.1) for n in range(8)], failed(8), silent=1), False),
        (of(*[gained(n, 0.1) for n in range(8)], failed(8), failed(9)), True),
        (of(*[gained(n, -0.1) for n in range(8)], silent=2), True),
        (Sample(10, tuple(gained(n, 0.1) for n in range(8)), silent=0, accused=2), True),
    ],
)
def test_a_release_is_blamed_for_what_devices_said_and_not_for_their_silence(of: Sample, guilty: bool) -> None:
    assert (judge(of, Gates()).passed, judge(of, Gates()).guilty) == (False, guilty)
    stopped = hopeless(of, Gates())
    assert stopped is not None
    assert stopped.guilty == guilty


@pytest.mark.parametrize(("code", "blamed"), [(ErrorCode.BACKBONE, 1), (ErrorCode.MANIFEST, 1), (ErrorCode.CLOCK, 0)])
def test_a_refusal_accuses_the_release_or_tells_of_the_device(code: ErrorCode, blamed: int) -> None:
    state, _ = advance(rollout(), 0.0, NAMES)
    for number in range(3):
        now_s = 1_000.0 * number
        if state.nodes["n0"].step is Step.ORDERED:
            status = NodeStatus(rollout=1, attempt=state.nodes["n0"].attempt, refused=code)
            state = events.heard(state, "n0", status, 0, True, now_s)
        state = machine.ordered(state, now_s + 500.0, NAMES)
    assert state.nodes["n0"].step in (Step.FAILED, Step.REFUSED)
    found = sample([state.nodes["n0"]], Gates())
    assert (found.accused, found.silent) == (2 * blamed, 2 - 2 * blamed)


def test_canaries_that_fall_silent_halt_a_rollout_and_nothing_is_rolled_back() -> None:
    state = rollout()
    state = replace(state, spec=state.spec.model_copy(update={"gates": Gates(min_reports=2)}))
    for number in range(100):
        state, _ = advance(state, 60.0 * number, NAMES)
    assert state.phase is Phase.HALTED
    assert "2 of 2 devices failed, 2 of them without a word of it" in state.reason
    assert not any(each.back_from for each in state.nodes.values())


def second_stage(size: Stage, *reporting: str) -> RolloutState:
    """The first stage has passed; of the second only these have reported when it ends."""
    stages = (Stage(devices=2), size, Stage(percent=100))
    state, now_s = rollout(SPEC.model_copy(update={"stages": stages})), 0.0
    while state.stage == 0:
        state, _ = advance(state, now_s, NAMES)
        state = heard(state, "n0", now_s, "done") if state.nodes["n0"].step is Step.ORDERED else state
        now_s += 1.0
    for _ in range(300):
        state, _ = advance(state, now_s, ["n0", *reporting])
        for name in reporting:
            state = heard(state, name, now_s, "done") if state.nodes[name].step is Step.ORDERED else state
        if state.stage != 1 or state.phase is not Phase.RUNNING:
            break
        now_s += 1.0
    return state


def test_a_small_stage_with_one_device_away_is_judged_with_those_before_it() -> None:
    assert second_stage(Stage(devices=4), "n1").stage == 2  # it has as many devices as have to report


def test_a_large_stage_has_to_bring_its_own_reports() -> None:
    assert second_stage(Stage(devices=6)).phase is Phase.HALTED
    assert second_stage(Stage(devices=6), "n1").phase is Phase.HALTED
    assert second_stage(Stage(devices=6), "n1", "n2").stage == 2


def test_a_gate_of_which_a_stage_tells_too_little_also_looks_at_those_before_it() -> None:
    state = second_stage(Stage(devices=6), "n1", "n2", "n3")
    state = replace(state, stage=1)
    told = tuple(replace(each, previous=0.8) for each in state.nodes["n0"].figures)
    state = replace(state, nodes={**state.nodes, "n0": replace(state.nodes["n0"], figures=told)})
    drop = next(each for each in findings(judged(state), state.spec.gates) if each.gate == "max_drop")
    assert (drop.result, drop.count) == (Result.FAILED, 2)


def test_a_failed_node_is_one_of_too_few_words() -> None:
    found = sample([node(Step.FAILED, devices=3), node(Step.DONE, gained(1, 0.1))], Gates())
    assert (found.silent, found.counted) == (3, 4)
    state, decisions = phases.halted(rollout(), "quiet", 0.0, {}, guilty=False)
    assert (state.phase, [each.what for each in decisions]) == (Phase.HALTED, ["halted"])
