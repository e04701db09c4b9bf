"""The controller is killed at every commit and every message, before and after it, and another one goes on."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import server.fleet.database
from server.fleet.rollout.state import Phase
from tests.server.fleet_run import FleetRun
from tests.server.honest_fleet import good, worse
from tinytrain_core.orders import TRAIN_ORDER
from tinytrain_core.report import PersonalisationReport

STAGES = [{"devices": 1}, {"percent": 100}]
GATES = {"min_reports": 1, "min_gain_lower_bound": None}
LONGEST_S = 1_200.0


class Killed(BaseException):
    """As kill -9: nothing catches it."""


class Executioner:
    """Kills at the point of that number, once; counts on where it is 0."""

    def __init__(self, at: int) -> None:
        self.at, self.points, self.killed = at, 0, False

    def point(self) -> None:
        self.points += 1
        if self.points == self.at:
            self.killed = True
            raise Killed


class Connection(sqlite3.Connection):
    """A database in which a commit is a point at which to be killed, before it and after."""

    point: Callable[[], None] = staticmethod(lambda: None)

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql != "COMMIT":
            return super().execute(sql, *values)
        self.point()
        cursor = super().execute(sql, *values)
        self.point()
        return cursor


def settled(fleet: FleetRun) -> bool:
    return fleet.state().phase in (Phase.COMPLETED, Phase.ROLLED_BACK) and not any(
        node.outbox for node in fleet.nodes.values()
    )


def drive(fleet: FleetRun, executioner: Executioner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all has ended, with a new controller after each that was killed."""

    def look(when: str, number: int) -> None:
        executioner.point()
        if when == f"before {TRAIN_ORDER}":
            state = fleet.state()
            assert state.nodes[f"node-{number:03d}"].stage <= state.stage, "a node outside the stage is told something"

    end = fleet.clock.steady + LONGEST_S
    while not settled(fleet):
        assert fleet.clock.steady < end, fleet.state()
        with monkeypatch.context() as patch:
            patch.setattr(server.fleet.database.sqlite3, "connect", partial(sqlite3.connect, factory=Connection))
            controller = fleet.controller(look)
        with monkeypatch.context() as patch, suppress(Killed), controller:
            patch.setattr(Connection, "point", staticmethod(executioner.point))
            for _ in range(10):
                controller.step()
                fleet.clock.sleep(10)


def run_killed_at(
    folder: Path, at: int, report: Callable[[int, int], PersonalisationReport], monkeypatch: pytest.MonkeyPatch
) -> tuple[FleetRun, int]:
    fleet = FleetRun(folder, count=3)
    for node in fleet.nodes.values():
        node.report, node.work_s = report, 15.0
    fleet.start(stages=STAGES, gates=GATES)
    executioner = Executioner(at)
    drive(fleet, executioner, monkeypatch)
    assert executioner.killed == (at > 0)
    return fleet, executioner.points


@pytest.mark.parametrize(("report", "phase"), [(good, Phase.COMPLETED), (worse, Phase.ROLLED_BACK)])
def test_no_report_is_lost_or_doubled_wherever_it_is_killed(
    report: Callable[[int, int], PersonalisationReport], phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, points = run_killed_at(tmp_path / "whole", 0, report, monkeypatch)
    assert points > 30
    for at in range(1, points + 1):
        fleet, _ = run_killed_at(tmp_path / str(at), at, report, monkeypatch)
        assert fleet.state().phase is phase, at
        stored = fleet.rows("SELECT node, report_id FROM reports")
        made = [(f"node-{node.number:03d}", number) for node in fleet.nodes.values() for number in node.made]
        assert sorted(stored) == sorted(made), at
        canaries = fleet.canaries(fleet.state())
        for number, node in fleet.nodes.items():
            rounds = 1 if phase is Phase.COMPLETED else 2 * (number in canaries)
            assert len(node.made) == rounds * len(node.devices), at  # what was begun once was not begun again
            assert (node.held.version == 2) == (phase is Phase.COMPLETED)
        ended = [what for what in fleet.decisions() if what in ("completed", "halted", "rolled back")]
        assert ended == (["completed"] if phase is Phase.COMPLETED else ["halted", "rolled back"]), at
