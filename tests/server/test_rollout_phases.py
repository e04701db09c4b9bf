from server.fleet.rollout import phases
from server.fleet.rollout.state import Phase, Step
from tests.server.test_rollout_machine import NAMES, advance, heard, rollout

OTHERS = ["elsewhere"]  # a node that is not in the rollout can be reached, and none that is


def test_a_pause_is_not_held_against_anybody() -> None:
    state, _ = advance(rollout(), 0.0, OTHERS)
    state, _ = phases.paused(state, "night", 90.0)
    state, _ = advance(state, 10_000.0, OTHERS)
    state, _ = phases.resumed(state, "morning", 10_000.0)
    state, decisions = advance(state, 10_005.0, OTHERS)
    assert (state.phase, decisions) == (Phase.RUNNING, ())
    state, decisions = advance(state, 10_011.0, OTHERS)  # 90 seconds before the pause, 11 after it
    assert [decision.what for decision in decisions] == ["halted"]


def test_for_want_of_reports_it_halts_and_nothing_is_rolled_back() -> None:
    state, _ = advance(rollout(), 0.0, OTHERS)
    state, decisions = advance(state, 101.0, OTHERS)
    assert state.phase is Phase.HALTED
    assert "0 of 2 devices have reported or failed; 2 are needed" in decisions[0].reason
    state, _ = phases.resumed(state, "they are back", 200.0)
    state, _ = advance(state, 201.0, NAMES)
    assert state.nodes["n0"].step is Step.ORDERED


def test_while_nobody_at_all_can_be_reached_no_time_passes() -> None:
    state, _ = advance(rollout(), 0.0, NAMES)
    assert {state.nodes[name].step for name in ("n0", "n1")} == {Step.ORDERED, Step.WAITING}
    for now_s in (50.0, 5_000.0, 9_999.0):
        state, decisions = advance(state, now_s, [])
        assert decisions == ()
    state, _ = advance(state, 10_000.0, NAMES)
    assert state.nodes["n0"].deadline_s == 10_050.0  # of its 100 seconds 50 had passed
    state, decisions = advance(state, 10_049.0, NAMES)
    assert (state.nodes["n0"].attempt, decisions) == (1, ())
    state, _ = advance(state, 10_050.0, NAMES)
    assert (state.nodes["n0"].step, state.nodes["n0"].note) == (Step.WAITING, "late: no answer")


def test_back_goes_who_was_ordered_and_nobody_else() -> None:
    state, _ = advance(rollout(), 0.0, NAMES)
    state, decisions = phases.aborted(state, "no", 1.0, roll_back=True)
    assert [decision.what for decision in decisions] == ["aborted", "rolling back"]
    for now_s in (1.0, 2.0, 3.0):
        state, decisions = advance(state, now_s, NAMES)
        state = heard(state, "n0", now_s, "done")
    assert state.phase is Phase.ROLLED_BACK
    assert {name for name, node in state.nodes.items() if node.attempt} == {"n0"}
    assert (state.nodes["n0"].attempt, state.nodes["n0"].step) == (2, Step.DONE)


def test_what_cannot_be_done_in_a_phase_is_recorded_and_changes_nothing() -> None:
    state, _ = phases.aborted(rollout(), "no", 0.0, roll_back=False)
    for result in (
        phases.paused(state, "x", 1.0),
        phases.resumed(state, "x", 1.0),
        phases.aborted(state, "x", 1.0, roll_back=True),
    ):
        assert result[0] == state
        assert [decision.what for decision in result[1]] == ["ignored"]
