"""Nodes that tell nonsense, tell of what is not theirs, or have forgotten what they were told."""

from pathlib import Path
from typing import Any

import pytest

from server.fleet.rollout.state import Phase, Step
from tests.server.fleet_run import FleetRun
from tests.server.honest_fleet import good, worse
from tests.server.release_folder import weights
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import failure

LONG_S = 1_800.0
ONE_STAGE = [{"percent": 100}]
Record = dict[str, dict[str, Any]]


@pytest.fixture
def fleet(tmp_path: Path) -> FleetRun:
    return FleetRun(tmp_path / "fleet")


def refusals(fleet: FleetRun) -> set[tuple[str, int]]:
    return {(str(node), int(code)) for node, code in fleet.rows("SELECT node, error FROM refusals")}


def nan(records: Record) -> Record:
    if "device-0" in records:
        records["device-0"]["accuracy_after"] = float("nan")
    return records


def text(records: Record) -> Record:
    return records | {"status": records["status"] | {"client": "a secret"}}


def oversize(records: Record) -> Record:
    return records | {f"delivery-{n}": {} for n in range(1, 1_000)}


def unasked(records: Record) -> Record:
    return records | {"weights": {"layer": [1.0] * 1_000}}


@pytest.mark.parametrize("lie", [nan, text, oversize, unasked, lambda records: {}])
def test_what_is_no_answer_is_refused_and_the_attempt_counts_as_failed(fleet: FleetRun, lie: Any) -> None:
    fleet.nodes[2].lie = lie
    fleet.start(stages=ONE_STAGE, gates={"min_reports": 3, "max_share_failed": 0.5})
    state = fleet.run(LONG_S)
    assert state.phase is Phase.COMPLETED
    assert (state.nodes["node-002"].step, state.nodes["node-002"].tries) == (Step.FAILED, 2)
    assert refusals(fleet) == {("node-002", ErrorCode.EGRESS)}
    assert fleet.rows("SELECT count(*) FROM reports WHERE node = 'node-002'") == [(0,)]
    assert any("node-002 after 2 orders: not a valid answer" in reason for reason in fleet.reasons("gave up"))
    fleet.nodes[2].lie = lambda records: records
    fleet.run(LONG_S)
    stored = fleet.rows("SELECT report_id FROM reports WHERE node = 'node-002'")
    assert [number for (number,) in stored] == fleet.nodes[2].made  # what it had kept came in the end
    assert not fleet.nodes[2].outbox


def test_reports_of_devices_of_others_are_refused_and_its_own_are_taken(fleet: FleetRun) -> None:
    liar = fleet.nodes[2]
    liar.devices = (2, 3)  # 3 is another node's
    fleet.start(stages=ONE_STAGE)
    state = fleet.run(LONG_S)
    assert state.phase is Phase.COMPLETED
    assert fleet.rows("SELECT node FROM reports WHERE device = 3") == [("node-003",)]
    assert refusals(fleet) == {("node-002", ErrorCode.EGRESS)}
    assert fleet.rows("SELECT count(*) FROM refusals")[0][0] <= 2  # the same is written down once an hour
    assert not liar.outbox  # what is refused for good is acknowledged, or it would stand in the way of others
    assert "1 reports of device 3, which the fleet does not know as this node's; they are lost" in {
        str(reason) for (reason,) in fleet.rows("SELECT reason FROM refusals")
    }


def test_old_reports_sent_again_change_nothing_and_are_acknowledged_again(fleet: FleetRun) -> None:
    node, kept = fleet.nodes[2], {}

    def replay(records: Record) -> Record:
        kept.update(node.outbox)
        node.outbox.update(kept)
        return records

    node.lie = replay
    fleet.start(stages=ONE_STAGE)
    state = fleet.run(2 * LONG_S)
    assert state.phase is Phase.COMPLETED
    assert kept
    assert fleet.rows("SELECT count(*) FROM reports WHERE node = 'node-002'") == [(1,)]
    told = [kind for kind, *_ in node.told]
    assert len(told) < 2 * LONG_S / 300  # it is asked at the slow pace, not at every look
    node.lie = lambda records: records
    fleet.run(LONG_S)
    assert not node.outbox


def test_a_flood_of_reports_is_stopped_before_it_fills_the_disk(
    fleet: FleetRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.fleet.arrivals.REPORTS_A_DAY", 200)
    node = fleet.nodes[2]

    def flood(records: Record) -> Record:
        for _ in range(120):
            node.deliver(good(2, 1), 0, 0, 1, fleet.clock.now_s())
        return records

    node.lie = flood
    fleet.start(stages=ONE_STAGE, gates={"min_reports": 3, "max_drop": None})
    assert fleet.run(LONG_S).phase is Phase.COMPLETED
    assert fleet.rows("SELECT count(*) FROM reports WHERE node = 'node-002'") == [(250,)]
    assert refusals(fleet) == {("node-002", ErrorCode.EGRESS)}


def test_a_report_of_an_order_that_was_never_given_is_no_figure_of_the_rollout(fleet: FleetRun) -> None:
    number = fleet.start(stages=ONE_STAGE, concurrency=1).number
    for node in fleet.nodes.values():
        node.work_s = float("inf")
        node.deliver(worse(node.number, 2), number, 7, 2, fleet.clock.now_s())
    state = fleet.run(120)
    assert state.phase is Phase.RUNNING
    assert not any(node.figures for node in state.nodes.values())


def test_a_node_that_says_that_it_was_too_late_is_ordered_again(fleet: FleetRun) -> None:
    node = fleet.nodes[2]
    plain = node.report

    def once(device: int, version: int) -> Any:
        node.report = plain
        return failure(ErrorCode.TOO_LATE, device)

    node.report = once
    fleet.start(stages=ONE_STAGE)
    state = fleet.run(LONG_S)
    assert state.phase is Phase.COMPLETED
    assert (state.nodes["node-002"].step, state.nodes["node-002"].attempt) == (Step.DONE, 2)


def test_a_node_that_forgot_its_order_is_given_it_again(fleet: FleetRun) -> None:
    node = fleet.nodes[2]
    node.work_s = 200.0
    fleet.start(stages=ONE_STAGE)
    fleet.run(60)
    node.order, node.ended, node.work_s = None, True, 5.0  # its disk was changed
    state = fleet.run(LONG_S)
    assert (state.nodes["node-002"].step, state.nodes["node-002"].attempt) == (Step.DONE, 2)


def test_a_node_without_its_weights_is_sent_them_again(fleet: FleetRun) -> None:
    fleet.start(stages=ONE_STAGE)
    with fleet.controller() as controller:
        fleet.run(LONG_S, controller)
        fleet.nodes[2].backbones.clear()
        fleet.start(name="again", stages=ONE_STAGE)
        assert fleet.run(LONG_S, controller).phase is Phase.COMPLETED
    assert fleet.orders(2) == [(2, len(weights(2))), (2, 0), (2, len(weights(2)))]
    assert fleet.orders(3) == [(2, len(weights(2))), (2, 0)]
