from pathlib import Path

import pytest

from server.fleet.rollout.state import Phase, Step
from server.fleet.rollout.store import What
from tests.server.fleet_run import FleetRun
from tests.server.honest_fleet import good, worse
from tests.server.release_folder import weights
from tinytrain_core.errors import ErrorCode, StorageError
from tinytrain_core.orders import NodeState
from tinytrain_core.report import failure

LONG_S = 1_800.0  # enough for a rollout, or to give up on somebody
DONE = ["stage passed", "stage began", "stage passed", "stage began", "stage passed", "completed"]


@pytest.fixture
def fleet(tmp_path: Path) -> FleetRun:
    return FleetRun(tmp_path / "fleet")


def stored(fleet: FleetRun) -> list[tuple[str, int]]:
    return sorted((str(node), int(number)) for node, number in fleet.rows("SELECT node, report_id FROM reports"))


def made(fleet: FleetRun) -> list[tuple[str, int]]:
    return sorted((f"node-{node.number:03d}", number) for node in fleet.nodes.values() for number in node.made)


def test_a_good_release_reaches_everybody_stage_by_stage(fleet: FleetRun) -> None:
    fleet.start(promote_to="stable")
    state = fleet.run(LONG_S)
    assert state.phase is Phase.COMPLETED
    assert fleet.decisions() == ["began", *DONE, "promoted"]
    assert {node.step for node in state.nodes.values()} == {Step.DONE}
    assert fleet.folder.registry.channel("stable") == 2
    assert stored(fleet) == made(fleet)
    assert len(made(fleet)) == 8
    assert not any(node.outbox for node in fleet.nodes.values())  # all of them know that theirs are stored
    for number in fleet.nodes:
        assert fleet.orders(number) == [(2, len(weights(2)))]


def test_a_second_round_sends_no_weights(fleet: FleetRun) -> None:
    fleet.start()
    fleet.run(LONG_S)
    fleet.start(name="again")
    assert fleet.run(LONG_S).phase is Phase.COMPLETED
    for number in fleet.nodes:
        assert fleet.orders(number) == [(2, len(weights(2))), (2, 0)]
    assert stored(fleet) == made(fleet)
    assert len(made(fleet)) == 16


def test_a_degraded_release_is_stopped_at_the_first_stage_and_rolled_back_without_a_hand(fleet: FleetRun) -> None:
    fleet.start(name="first", release=1, rollback="none")
    fleet.run(LONG_S)
    for node in fleet.nodes.values():
        node.report = worse
        node.told.clear()
    canaries = fleet.canaries(fleet.start())
    state = fleet.run(LONG_S)
    assert state.phase is Phase.ROLLED_BACK
    assert fleet.decisions() == ["began", "halted", "rolling back", "withdrawn", "rolled back"]
    assert "3 of 3 devices are worse; at most 30% may be" in fleet.reasons("halted")[0]
    assert fleet.folder.registry.is_withdrawn(2)
    for number, node in fleet.nodes.items():
        assert fleet.orders(number) == ([(2, len(weights(2))), (1, 0)] if number in canaries else [])
        assert (node.held.version, node.held.highest) == ((1, 2) if number in canaries else (1, 1))


def test_without_a_way_back_a_bad_release_only_stops(fleet: FleetRun) -> None:
    for node in fleet.nodes.values():
        node.report = lambda device, version: failure(ErrorCode.TRAINING_DIVERGED, device)
    canaries = fleet.canaries(fleet.start(rollback="none"))
    assert fleet.run(LONG_S).phase is Phase.HALTED
    assert "3 of 3 devices failed" in fleet.reasons("halted")[0]
    assert not fleet.folder.registry.is_withdrawn(2)
    assert {number for number in fleet.nodes if fleet.orders(number)} == canaries
    fleet.tell(What.ROLL_BACK, "enough")
    assert fleet.run(LONG_S).phase is Phase.ROLLED_BACK
    assert {number for number in fleet.nodes if (1, len(weights(1))) in fleet.orders(number)} == canaries


def test_accuracy_that_falls_against_the_release_before_halts_though_personalising_gains(fleet: FleetRun) -> None:
    fleet.start(name="first", release=1, rollback="none")
    fleet.run(LONG_S)
    for node in fleet.nodes.values():
        node.report = lambda device, version: good(device, version).model_copy(
            update={"accuracy_before": 0.2, "accuracy_after": 0.3 + 0.01 * (device % 5)}
        )
    fleet.start()
    assert fleet.run(LONG_S).phase is Phase.ROLLED_BACK
    assert "accuracy changed by -0.4" in fleet.reasons("halted")[0]


def test_paused_nobody_is_ordered_and_resumed_it_goes_on(fleet: FleetRun) -> None:
    fleet.start()
    fleet.run(30)
    fleet.tell(What.PAUSE, "looking at it")
    paused = fleet.run(900)
    assert (paused.phase, paused.reason) == (Phase.PAUSED, "looking at it")
    ordered = {name for name, node in paused.nodes.items() if node.attempt}
    assert {node.step for name, node in paused.nodes.items() if name in ordered} == {Step.DONE}
    assert len(ordered) < len(paused.nodes)
    fleet.tell(What.RESUME)
    assert fleet.run(LONG_S).phase is Phase.COMPLETED
    assert [what for what in fleet.decisions() if "stage" not in what] == ["began", "paused", "resumed", "completed"]


@pytest.mark.parametrize(
    ("what", "phase", "version"), [(What.KEEP, Phase.ABORTED, 2), (What.ROLL_BACK, Phase.ROLLED_BACK, 1)]
)
def test_aborted_nodes_keep_the_release_or_go_back(fleet: FleetRun, what: What, phase: Phase, version: int) -> None:
    canaries = fleet.canaries(fleet.start(stages=[{"devices": 3, "soak_s": 3_600}, {"percent": 100}]))
    fleet.run(LONG_S)
    fleet.tell(what, "no")
    assert fleet.run(2 * LONG_S).phase is phase
    assert {fleet.nodes[number].held.version for number in canaries} == {version}
    assert {number for number in fleet.nodes if fleet.orders(number)} == canaries


def test_a_node_that_was_away_gets_the_release_when_it_is_back_and_a_new_one_too(fleet: FleetRun) -> None:
    state = fleet.start()
    last = max(state.nodes, key=lambda name: state.nodes[name].stage)
    absent = fleet.nodes[int(last.removeprefix("node-"))]
    absent.online = False
    state = fleet.run(LONG_S)
    assert state.phase is Phase.COMPLETED
    assert state.nodes[last].step is Step.WAITING
    absent.online = True
    fleet.add(9)
    state = fleet.run(LONG_S)
    assert {node.step for node in state.nodes.values()} == {Step.DONE}
    assert fleet.orders(9) == fleet.orders(absent.number) == [(2, len(weights(2)))]


def test_a_node_that_was_ordered_and_went_away_is_rolled_back_when_it_is_there_again(fleet: FleetRun) -> None:
    canaries = sorted(fleet.canaries(fleet.start(stages=[{"devices": 4}, {"percent": 100}])))
    gone = fleet.nodes[canaries[0]]
    gone.work_s = float("inf")
    for node in fleet.nodes.values():
        node.report = worse
    fleet.run(40)
    gone.online = False
    state = fleet.run(2 * LONG_S)
    assert state.phase is Phase.ROLLED_BACK
    assert gone.held.version == 2
    gone.online, gone.work_s = True, 5.0
    state = fleet.run(LONG_S)
    assert gone.held.version == 1
    assert state.nodes[f"node-{gone.number:03d}"].step is Step.DONE


def test_reports_made_without_an_order_are_fetched_and_acknowledged(fleet: FleetRun) -> None:
    node = fleet.nodes[2]
    for _ in range(400):
        node.deliver(good(2, 1), 0, 0, 1, fleet.clock.now_s())
    with fleet.controller() as controller:
        for _ in range(40):
            controller.step()
            fleet.clock.sleep(3)
    assert len(stored(fleet)) == 400
    assert not node.outbox
    assert fleet.rows("SELECT DISTINCT rollout FROM reports") == [(0,)]
    assert fleet.rows("SELECT count(*) FROM reports WHERE acknowledged_s IS NULL") == [(0,)]


def test_there_is_one_controller(fleet: FleetRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.fleet.controller.LOCK_WAIT_S", 0.0)
    with fleet.controller() as one, fleet.controller() as other:

        def stop() -> bool:
            with pytest.raises(StorageError, match="another process is at work"):
                other.run(lambda: True)
            return True

        one.run(stop)


def test_what_waits_and_why_is_seen_in_the_state(fleet: FleetRun) -> None:
    for node in fleet.nodes.values():
        node.work_s, node.state = float("inf"), NodeState.OUTSIDE_WINDOW
    fleet.start()
    state = fleet.run(300)
    assert {node.note for node in state.nodes.values() if node.attempt} == {"outside window"}
    fleet.run(LONG_S)
    assert fleet.state().phase is Phase.HALTED
    assert any("late: outside window" in reason for reason in fleet.reasons("gave up"))
