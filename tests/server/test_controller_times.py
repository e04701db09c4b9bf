"""Nodes that are late or come and go, clocks that are wrong, and a server that was away."""

from pathlib import Path

import pytest

from server.fleet.rollout.state import Phase, Step
from tests.server.fleet_run import PASS_S, FleetRun
from tests.server.honest_fleet import good
from tests.server.release_folder import weights
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import NodeState

LONG_S = 1_800.0
ONE_STAGE = [{"percent": 100}]


@pytest.fixture
def fleet(tmp_path: Path) -> FleetRun:
    return FleetRun(tmp_path / "fleet")


def test_a_late_node_is_ordered_again_and_then_given_up(fleet: FleetRun) -> None:
    fleet.nodes[2].work_s = float("inf")
    fleet.start(stages=ONE_STAGE, gates={"min_reports": 3, "max_share_failed": 0.2})
    state = fleet.run(LONG_S)
    assert state.phase is Phase.COMPLETED
    assert state.nodes["node-002"].step is Step.FAILED
    assert fleet.orders(2) == [(2, len(weights(2))), (2, 0)]
    assert "late: working" in fleet.reasons("gave up")[0]
    assert fleet.rows("SELECT DISTINCT error FROM reports WHERE node = 'node-002'") == [(ErrorCode.SUPERSEDED,)]


def test_nodes_that_come_and_go_get_through_it(fleet: FleetRun) -> None:
    fleet.start(deadline_s=7_200)
    with fleet.controller() as controller:
        for number in range(600):
            for node in fleet.nodes.values():
                node.online = (number // (3 + node.number)) % 2 == 0
            controller.step()
            fleet.clock.sleep(PASS_S)
    assert fleet.state().phase is Phase.COMPLETED
    stored = fleet.rows("SELECT node, report_id FROM reports")
    made = [(f"node-{node.number:03d}", number) for node in fleet.nodes.values() for number in node.made]
    assert sorted(stored) == sorted(made)


def test_a_wrong_clock_is_written_down_and_its_refusal_is_final(fleet: FleetRun) -> None:
    fleet.nodes[2].clock_off_s = -2 * 86_400.0
    fleet.start(stages=ONE_STAGE, gates={"min_reports": 3, "max_share_failed": 0.2})
    state = fleet.run(LONG_S)
    assert state.phase is Phase.COMPLETED
    assert (state.nodes["node-002"].step, state.nodes["node-002"].note) == (Step.REFUSED, "refused: clock")
    reasons = {str(reason) for (reason,) in fleet.rows("SELECT reason FROM refusals WHERE node = 'node-002'")}
    assert reasons == {"its clock is 2880 minutes behind", "it refused attempt 1: clock"}


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
def test_a_server_whose_clock_is_set_gives_nobody_up(fleet: FleetRun, jump_s: float) -> None:
    for node in fleet.nodes.values():
        node.work_s = 100.0
    fleet.start(stages=ONE_STAGE)
    with fleet.controller() as controller:
        fleet.run(50, controller)
        fleet.clock.wall += jump_s
        for node in fleet.nodes.values():
            node.done_s += jump_s
        state = fleet.run(300, controller)
    assert state.phase is Phase.COMPLETED
    assert {node.attempt for node in state.nodes.values()} == {1}
    assert "time moved" in fleet.decisions()


def test_a_server_that_was_down_for_a_day_gives_nobody_up(fleet: FleetRun) -> None:
    for node in fleet.nodes.values():
        node.state = NodeState.WORKING
    fleet.start(stages=ONE_STAGE)
    fleet.run(15)
    fleet.clock.sleep(86_400.0)
    state = fleet.run(300)
    assert state.phase is Phase.COMPLETED
    assert {node.attempt for node in state.nodes.values()} == {1}


def test_a_superlink_that_is_away_for_hours_gives_nobody_up(fleet: FleetRun) -> None:
    for node in fleet.nodes.values():
        node.work_s = 100.0
    fleet.start(stages=ONE_STAGE)
    fleet.run(50)
    for node in fleet.nodes.values():
        node.online = False
    assert fleet.run(2 * LONG_S).dark_s is not None
    for node in fleet.nodes.values():
        node.online = True
    state = fleet.run(300)
    assert (state.phase, state.dark_s) == (Phase.COMPLETED, None)
    assert {node.attempt for node in state.nodes.values()} == {1}


def test_where_more_is_due_than_a_pass_sends_every_node_has_its_turn(
    fleet: FleetRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.fleet.courier.MOST_SENT", 2)
    with fleet.controller() as controller:
        for _ in range(20):
            for node in fleet.nodes.values():
                node.deliver(good(node.number, 1), 0, 0, 1, fleet.clock.now_s())
            controller.step()
            fleet.clock.sleep(PASS_S)
    told = [len(node.told) for node in fleet.nodes.values()]
    assert 0 < max(told) <= 2 * min(told)
