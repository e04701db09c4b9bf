"""kill -9 of every process of a fleet at work: nothing is lost, nothing comes twice, and the rollout completes."""

import os
import signal
from collections import Counter

from tests.fleet.operations import Operator
from tests.server.running import wait_for

SOME = {"names": ["pi-1", "gate-1"]}
DEVICES = [1, 2, 3, 5]
LONG = {"steps": 40, "views": 4}


def kill(pid: int | None) -> None:
    assert pid
    os.kill(pid, signal.SIGKILL)


def test_whatever_is_killed_every_report_comes_once(operator: Operator) -> None:
    server, device = operator.server, operator.devices["pi-1"]
    operator.roll_out("killed", 1, rollback="none", training=LONG, target=SOME)
    wait_for("a device at work", lambda: device.facts().get("order runs"), 90)

    kill(device.node_pid())  # in the middle of its training
    for program in ("superlink", "superexec"):
        before = wait_for(program, lambda program=program: server.running(program))
        kill(before.pid)
        wait_for(f"another {program}", lambda: server.running(program) not in (None, before))  # noqa: B023
    controller = wait_for("a controller", server.beat)
    kill(controller.pid)
    wait_for("another controller", lambda: (beat := server.beat()) and beat.pid != controller.pid)
    kill(server.process.pid)
    server.revive()

    operator.wait("killed", "completed")
    reports = operator.reports("killed")
    assert sorted({report["device"] for report in reports}) == DEVICES
    assert set(Counter((report["device"], report["attempt"]) for report in reports).values()) == {1}
    assert device.facts()["restarts"] >= 1
    for name, node in operator.devices.items():
        wait_for(f"{name}'s reports to be acknowledged", lambda node=node: node.facts()["reports waiting"] == 0)


def test_a_server_that_is_away_costs_no_report(operator: Operator) -> None:
    operator.roll_out("away", 1, rollback="none", training=LONG, target=SOME)
    device = operator.devices["pi-1"]
    wait_for("a device at work", lambda: device.facts().get("order runs"), 90)
    device.proxy.cut = True  # what a load balancer does while its server is away
    device.proxy.reset()
    wait_for("the device to end its work alone", lambda: device.facts()["reports waiting"] == 1, 90)
    device.proxy.cut = False
    operator.wait("away", "completed")
    assert [report["device"] for report in operator.reports("away")] == DEVICES
