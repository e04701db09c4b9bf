"""Nodes that leave, come late or come back as others, and what an operator can still do about a rollout."""

from dataclasses import replace

import pytest

from server.fleet.nodes import Node
from server.fleet.rollout import events, machine, phases
from server.fleet.rollout.sample import judged
from server.fleet.rollout.state import Phase, RolloutState, Step
from server.fleet.rollout.targeting import Member
from server.fleet.rollout.unfinished import check_nobody_left, unfinished
from tests.server.test_rollout_machine import NAMES, SPEC, advance, heard, rollout
from tinytrain_core.errors import ConfigurationError, ErrorCode
from tinytrain_core.orders import NodeStatus


def canaries_done(what: str = "done", state: RolloutState | None = None) -> RolloutState:
    """The first stage, one pass before it is judged."""
    state, _ = advance(state or rollout(), 0.0, NAMES)
    return heard(state, "n0", 1.0, what)


def test_a_stage_whose_nodes_were_all_taken_out_halts_and_does_not_pass() -> None:
    state, _ = advance(rollout(), 0.0, NAMES)
    state, decisions = advance(events.left(state, ["n0"]), 1.0, NAMES)
    assert (state.phase, state.stage) == (Phase.HALTED, 0)
    assert "all of its nodes were taken out of the fleet" in decisions[0].reason
    assert not any(node.back_from for node in state.nodes.values())


def test_a_stage_that_never_had_a_node_passes() -> None:
    spec = SPEC.model_copy(update={"stages": (SPEC.stages[0], SPEC.stages[0], SPEC.stages[2])})
    state, decisions = advance(canaries_done(state=rollout(spec)), 2.0, NAMES)
    assert "it adds no node" in " ".join(each.reason for each in decisions)
    assert (state.phase, state.stage) == (Phase.RUNNING, 2)


def test_what_nodes_reported_counts_when_they_have_been_taken_out() -> None:
    state = events.left(canaries_done("failed"), ["n0"])
    assert (judged(state).devices, judged(state).blamed) == (2, 2)
    state, _ = advance(state, 2.0, NAMES)
    assert state.phase is Phase.ROLLED_BACK  # nobody has it any more
    again = events.left(canaries_done("failed"), ["n0"])
    again = events.joined(again, [Member(f"{0:064x}", "n0", (0, 100))])
    assert judged(again).counted == 0  # the devices are there again, and report anew


def test_another_node_under_the_name_of_one_begins_anew() -> None:
    state = canaries_done()
    assert events.joined(state, [Member(f"{0:064x}", "n0", (0, 100))]) is state
    for place, devices in ((f"{0:064x}", (0, 100, 200)), ("0" * 63 + "1", (0, 100))):
        other = events.joined(state, [Member(place, "n0", devices)]).nodes["n0"]
        assert (other.step, other.attempt, other.devices, other.figures) == (Step.WAITING, 0, devices, ())


def test_nodes_that_come_when_a_stage_is_under_way_do_not_hold_it_up() -> None:
    stages = (SPEC.stages[0].model_copy(update={"soak_s": 100.0}), *SPEC.stages[1:])
    state, _ = advance(canaries_done(state=rollout(SPEC.model_copy(update={"stages": stages}))), 2.0, NAMES)
    assert state.ripe_s == 2.0
    for number in range(9):
        late = Member("0" * 64, f"late{number}", (300 + number,))
        state = events.joined(state, [late])
        state, _ = advance(state, 10.0 * number + 3.0, [*NAMES, late.name])
        assert state.ripe_s == 2.0
    state, _ = advance(state, 102.0, NAMES)
    assert state.stage == 1


def test_who_has_accepted_an_order_or_is_away_holds_up_nobody() -> None:
    state = replace(rollout(), stage=2)
    state = machine.ordered(state, 0.0, NAMES)
    first = [name for name, node in state.nodes.items() if node.step is Step.ORDERED]
    assert len(first) == SPEC.concurrency
    assert machine.ordered(state, 1.0, NAMES) is state
    accepted = events.heard(state, first[0], NodeStatus(rollout=1, attempt=1, state=1), 0, True, 1.0)
    for found in (machine.ordered(accepted, 1.0, NAMES), machine.ordered(state, 1.0, set(NAMES) - {first[0]})):
        assert sum(node.step is Step.ORDERED for node in found.nodes.values()) == SPEC.concurrency + 1


def test_a_stage_that_was_halted_for_failures_is_ordered_again_when_it_is_resumed_and_can_pass() -> None:
    state = replace(canaries_done("failed"), back_to=None)
    state, _ = advance(state, 2.0, NAMES)
    assert state.phase is Phase.HALTED
    state, _ = phases.resumed(state, "a broken camera", 3.0)
    state, _ = advance(state, 4.0, NAMES)
    node = state.nodes["n0"]
    assert (state.phase, node.step, node.attempt, node.tries) == (Phase.RUNNING, Step.ORDERED, 2, 1)
    state, _ = advance(heard(state, "n0", 5.0, "done"), 6.0, NAMES)
    assert state.stage == 1


def test_resumed_a_node_that_refused_is_ordered_again_and_one_that_did_well_is_not() -> None:
    state = canaries_done()
    state = replace(state, stage=1)
    state = machine.ordered(state, 2.0, NAMES)
    refused = NodeStatus(rollout=1, attempt=1, refused=ErrorCode.SIGNATURE)
    state = events.heard(state, "n1", refused, 0, True, 3.0)
    assert state.nodes["n1"].step is Step.REFUSED
    state, _ = phases.halted(state, "x", 4.0, {}, guilty=False)
    state, _ = phases.resumed(state, "trusted now", 5.0)
    assert (state.nodes["n1"].step, state.nodes["n1"].refused) == (Step.WAITING, 0)
    assert state.nodes["n0"].step is Step.DONE


def test_a_roll_back_that_cannot_be_sent_can_be_ended() -> None:
    state, _ = phases.aborted(canaries_done(), "no", 2.0, roll_back=True)
    state, _ = phases.supplied(state, "the roll-back order: it has expired", False, 3.0)
    assert state.blocked
    assert phases.aborted(state, "x", 4.0, roll_back=True)[1][0].what == "ignored"
    state, decisions = phases.aborted(state, "another release will mend it", 4.0, roll_back=False)
    assert (state.phase, state.blocked, decisions[0].what) == (Phase.ABORTED, "", "aborted")
    assert machine.ordered(state, 5.0, NAMES) is state


def test_a_rollout_that_has_ended_leaves_undone_whom_it_has_not_reached() -> None:
    nodes = [Node(name, f"ecdsa {name} me") for name in NAMES]
    state = replace(canaries_done(), phase=Phase.COMPLETED)
    assert unfinished(state, nodes, ()).keys() == set(NAMES) - {"n0"}
    back, _ = phases.aborted(canaries_done(), "no", 2.0, roll_back=True)
    assert unfinished(back, nodes, ()) == {"n0": "has not got release 1 of rollout r yet"}
    assert unfinished(replace(back, phase=Phase.ABORTED), nodes, ()) == {}
    nodes[3] = replace(nodes[3], status=NodeStatus(version=7))
    assert unfinished(None, nodes, {7}) == {"n3": "uses release 7, which was withdrawn"}
    with pytest.raises(ConfigurationError, match=r"2 nodes outside the target .*: n9 x; n99 y"):
        check_nobody_left(state, {"n9": "x", "n99": "y", "n1": "z"})


def test_what_happens_to_nodes_one_at_a_time_is_what_happens_to_all() -> None:
    state, _ = advance(rollout(SPEC.model_copy(update={"stages": SPEC.stages[-1:], "concurrency": 50})), 0.0, NAMES)
    told = dict(zip(NAMES, ("done", "failed", "late", "refused", "forgot"), strict=False))
    at_once = state
    for name, what in told.items():
        at_once = heard(at_once, name, 5.0, what)
    parts = [heard(events.alone(state, name), name, 5.0, what) for name, what in told.items()]
    assert events.together(state, parts) == at_once != state
    assert events.together(state, [events.unreachable(events.alone(state, "nobody"), "nobody")]) is state
    assert judged(at_once).counted > judged(state).counted


def test_a_pass_in_which_nothing_happens_changes_nothing() -> None:
    state, _ = advance(rollout(), 0.0, NAMES)
    again, decisions = advance(state, 1.0, NAMES)
    assert again is state
    assert decisions == ()
