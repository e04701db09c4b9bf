"""One fleet, end to end: real processes over TLS on loopback, nginx in front, six nodes with eight unequal devices."""

from tests.fleet.operations import NODES, Operator
from tinytrain_core.report import Outcome

DEVICES = [number for hosted in NODES.values() for number in hosted]
BACKBONE_BYTES = 900_000
MOST_BYTES_AGAIN = 30_000  # down, to a node that holds the backbone


def test_every_device_receives_the_release_personalises_and_reports(operator: Operator) -> None:
    operator.roll_out("first", 1, [{"devices": 3}], rollback="none", promote_to="stable")
    operator.wait("first", "completed")
    reports = operator.reports("first")
    assert [report["device"] for report in reports] == DEVICES
    assert {report["outcome"] for report in reports} <= {Outcome.ADAPTED, Outcome.KEPT_BASE}
    assert all(traffic > BACKBONE_BYTES for traffic in operator.traffic().values())
    assert all(device.facts()["release in use"] == 1 for device in operator.devices.values())


def test_a_second_round_sends_no_backbone(operator: Operator) -> None:
    before = operator.traffic()
    operator.roll_out("second", 1, rollback="none")
    operator.wait("second", "completed")
    assert [report["device"] for report in operator.reports("second")] == DEVICES
    again = {name: traffic - before[name] for name, traffic in operator.traffic().items()}
    assert all(traffic <= MOST_BYTES_AGAIN for traffic in again.values()), again


def test_a_degraded_release_is_stopped_at_the_canary_and_rolled_back_without_a_hand(operator: Operator) -> None:
    operator.release(operator.degraded())
    operator.release(None, "--rollback-to", 1, "--withdraws", 2)
    before = operator.traffic()
    operator.roll_out("degraded", 2, [{"devices": 1}], seed=operator.seed_of_the_most_accurate())
    operator.wait("degraded", "rolled back")
    said = operator.decisions("degraded")
    assert any("accuracy fell by more than 0.1 against another release" in reason for _, reason in said), said
    received = [name for name, traffic in operator.traffic().items() if traffic - before[name] > BACKBONE_BYTES]
    assert len(received) == 1
    assert operator.devices[received[0]].facts()["highest seen"] == 2
    others = [device.facts() for name, device in operator.devices.items() if name not in received]
    assert {facts["highest seen"] for facts in others} == {1}
    assert {device.facts()["release in use"] for device in operator.devices.values()} == {1}
