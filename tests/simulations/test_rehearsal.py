"""A rollout rehearsed: where it ends and why, in virtual time, with reports that follow from a device's number."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from client.config import DeviceConfig
from simulations.executors.executor import Done, Job
from simulations.rehearsal.devices import told, write_devices
from simulations.rehearsal.folder import Releases
from simulations.rehearsal.output import write_findings
from simulations.rehearsal.rehearse import End, Pace, Rehearsal
from simulations.rehearsal.stages import (
    NOT_BEGUN,
    PASSED,
    STOPPED,
    Decided,
    decisions,
    remaining,
    stage_results,
)
from tests.simulations.rehearsals import Instant, backbone_file, fleet_of, good, report_of, run, worse
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.report import PersonalisationReport
from tinytrain_core.wire import PersonaliseRequest

HOUR_S, DAY_S = 3_600.0, 86_400.0
NIGHT: dict[str, Any] = {"availability": {"kind": "diurnal", "from_hour": 22.0, "hours": 3.0}}


def whats(rehearsal: Rehearsal) -> list[str]:
    return [each.what for each in decisions(rehearsal)]


def the(rehearsal: Rehearsal, what: str) -> Decided:
    (found,) = [each for each in decisions(rehearsal) if each.what == what]
    return found


def rows(rehearsal: Rehearsal, out: Path) -> list[dict[str, str]]:
    with write_devices(rehearsal, told(rehearsal), out).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_good_release_goes_through_all_stages(tmp_path: Path) -> None:
    rehearsal = run(tmp_path)
    assert rehearsal.end is End.COMPLETED
    assert rehearsal.computed == 12
    stages = stage_results(rehearsal, decisions(rehearsal))
    assert [stage.result for stage in stages] == [PASSED] * 3
    assert sum(stage.reported for stage in stages) == sum(stage.devices for stage in stages) == 12
    assert [stage.began_s for stage in stages[1:]] == [stage.ended_s for stage in stages[:-1]]
    assert all(stage.ended_s and stage.began_s is not None and stage.ended_s > stage.began_s + 600 for stage in stages)
    assert rehearsal.ended_s - rehearsal.began_s < 3 * 700, "each stage takes its devices' ten minutes and little more"
    assert remaining(rehearsal) == {}
    assert stages[0].energy_j == 3.0 * stages[0].devices


def test_weights_go_down_once_to_each_node(tmp_path: Path) -> None:
    rehearsal = run(tmp_path)
    size = len(rehearsal.fleet.registry.file(rehearsal.rollout.digest))
    for cost in rehearsal.link.account.nodes:
        assert size < cost.down_bytes < size + 60_000
        assert 500 < cost.up_bytes < 60_000


def test_a_bad_release_is_stopped_by_a_gate_and_rolled_back(tmp_path: Path) -> None:
    rehearsal = run(tmp_path, worse)
    assert rehearsal.end is End.ROLLED_BACK
    first = stage_results(rehearsal, decisions(rehearsal))[0].devices
    assert rehearsal.rollout.reason == f"{first} of {first} devices are worse; at most 30% may be"
    assert the(rehearsal, "withdrawn").reason == "release 2 is not to be used again"
    stages = stage_results(rehearsal, decisions(rehearsal))
    assert [stage.result for stage in stages] == [STOPPED, NOT_BEGUN, NOT_BEGUN]
    assert stages[0].worse == stages[0].devices
    assert rehearsal.computed == stages[0].devices, "nobody else was ever ordered, and the way back is known by heart"
    assert rehearsal.link.account.total().works == stages[0].devices


def test_without_a_way_back_it_halts_for_an_operator(tmp_path: Path) -> None:
    assert run(tmp_path, worse, rollback="none").end is End.HALTED


def test_nodes_at_work_hear_of_a_roll_back_as_soon_as_real_ones(tmp_path: Path) -> None:
    """One device of the first stage needs 20 hours; the others stop the rollout after ten minutes."""
    canary = run(tmp_path / "first").rollout.nodes
    slow = max(node.devices[-1] for node in canary.values() if node.stage == 0)

    def report(device: DeviceConfig, request: PersonaliseRequest) -> PersonalisationReport:
        return report_of(device, 0.3, 20 * HOUR_S if device.number == slow else 600.0)

    rehearsal = run(tmp_path / "second", report)
    assert rehearsal.end is End.ROLLED_BACK
    back_s = the(rehearsal, "rolling back").at_s
    assert 600 < back_s < 700
    assert back_s + 20 * HOUR_S < the(rehearsal, "rolled back").at_s < back_s + 20 * HOUR_S + 120, "it trains anew"
    (cost,) = [cost for cost in rehearsal.link.account.nodes if cost.works > 1]
    assert 3.0 < cost.energy_j < 3.1, "what it was at is not done to its end"


def test_going_back_to_what_nodes_still_hold_needs_no_weights(tmp_path: Path) -> None:
    releases = Releases(backbone_file(tmp_path, 1), backbone_file(tmp_path, 2))
    rehearsal = run(tmp_path / "out", worse, releases=releases)
    assert rehearsal.end is End.ROLLED_BACK
    size = len(rehearsal.fleet.registry.file(rehearsal.rollout.digest))
    ordered = [cost.down_bytes for cost in rehearsal.link.account.nodes if cost.works]
    assert ordered
    assert all(size < down < 1.5 * size for down in ordered)


def test_a_release_of_weights_that_nodes_hold_already_sends_none(tmp_path: Path) -> None:
    rehearsal = run(tmp_path, releases=Releases("", ""))
    assert rehearsal.end is End.COMPLETED
    assert max(cost.down_bytes for cost in rehearsal.link.account.nodes) < 60_000


def test_nodes_that_are_there_at_night_only_make_it_take_days(tmp_path: Path) -> None:
    rehearsal = run(tmp_path, lambda device, request: report_of(device, 0.8, 4 * HOUR_S), fleet=NIGHT)
    assert rehearsal.end is End.COMPLETED
    stages = stage_results(rehearsal, decisions(rehearsal))
    ends = [divmod(stage.ended_s or 0, DAY_S) for stage in stages]
    assert [day for day, _ in ends] == [0, 1, 2], "each stage is ordered in one night, and heard of in the next"
    assert all(22 * HOUR_S < at_s < 22.2 * HOUR_S for _, at_s in ends)
    assert rehearsal.passes < 400, "nothing is looked at while nothing can change"


def test_nodes_that_are_never_there_are_named(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("node,start_s,end_s\n" + "".join(f"{node},0,86400\n" for node in range(9)) + "10,3e7,3.1e7\n")
    fleet = {"availability": {"kind": "trace", "file": str(trace), "period_s": 3.1e7}}
    rehearsal = run(tmp_path / "out", fleet=fleet, deadline_s=2 * HOUR_S)
    assert rehearsal.end is End.COMPLETED
    assert remaining(rehearsal) == {"waiting: not ordered; it was away, or its turn not come": 2}
    late = [row for row in rows(rehearsal, tmp_path) if not row["reported_h"]]
    assert {row["node"] for row in late} == {"9", "10"}


def test_devices_that_drop_out_are_late_and_counted(tmp_path: Path) -> None:
    gates = {"min_reports": 3, "max_share_failed": None}
    stages = [{"devices": 12}, {"percent": 100}]
    fleet = {"faults": {"drop_out": 0.3}}
    rehearsal = run(tmp_path, devices=24, fleet=fleet, gates=gates, stages=stages, retries=0, deadline_s=HOUR_S)
    assert rehearsal.end is End.COMPLETED
    dropped = rehearsal.link.account.causes["drop_out"]
    assert 2 <= dropped <= 12
    assert remaining(rehearsal) == {"failed: late: working": dropped}
    silent = [row for row in rows(rehearsal, tmp_path) if not row["reported_h"]]
    assert {row["step"] for row in silent} == {"failed"}
    found = stage_results(rehearsal, decisions(rehearsal))
    assert sum(stage.failed for stage in found) == len(silent)
    assert found[0].ended_s == pytest.approx(HOUR_S, abs=60), "a stage waits for its silent ones until its deadline"


def test_devices_whose_process_crashes_say_so(tmp_path: Path) -> None:
    spec = {"gates": {"min_reports": 3, "max_share_failed": None}, "retries": 0}
    rehearsal = run(tmp_path, fleet={"faults": {"crash": 0.4}}, **spec)
    errors = [row["error"] for row in rows(rehearsal, tmp_path)]
    assert 1 <= errors.count("crashed") < 12
    assert set(errors) == {"crashed", ""}
    assert rehearsal.link.account.causes["crash"] % 3 == 0, "each is tried three times, as a real agent tries"


@pytest.mark.parametrize("kind", ["nan", "garbage"])
def test_lies_are_refused(tmp_path: Path, kind: str) -> None:
    gates = {"min_reports": 3, "max_share_failed": None}
    faults = {"byzantine": 0.3, "byzantine_kind": kind}
    rehearsal = run(tmp_path, devices=16, fleet={"faults": faults}, gates=gates, retries=0, deadline_s=HOUR_S)
    kept = told(rehearsal)
    assert 4 <= len(kept) < 16
    assert all(0.69 < report.accuracy_after < 0.75 for _, report in kept.values())
    assert sum(remaining(rehearsal).values()) >= 1
    assert "failed: not a valid answer" in remaining(rehearsal)


def test_the_same_rehearsal_twice_gives_the_same_files(tmp_path: Path) -> None:
    fleet = {"faults": {"drop_out": 0.2, "crash": 0.1}} | NIGHT
    spec = {"gates": {"min_reports": 3, "max_share_failed": None}}
    found = []
    for name in ("first", "second"):
        rehearsal = run(tmp_path / name, fleet=fleet, **spec)
        write_findings(rehearsal, fleet_of(12), "a command", tmp_path / name)
        files = ("rehearsal.json", "devices.csv", "report.html")
        found.append([(tmp_path / name / file).read_bytes() for file in files])
    assert found[0] == found[1]


def test_what_was_computed_is_not_computed_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run(tmp_path, stages=[{"devices": 6}, {"percent": 100}], gates={"min_reports": 2})
    assert (first.computed, first.recalled) == (12, 0)
    assert (again.computed, again.recalled) == (0, 12)
    other = run(tmp_path, training={"steps": 3})
    assert (other.computed, other.recalled) == (12, 0)


class Killed(Instant):
    """An executor that is killed when it has done a few jobs."""

    def submit(self, jobs: Iterable[Job]) -> None:
        if self.published and len(self.ended) >= 6:
            raise KeyboardInterrupt
        super().submit(jobs)

    def done(self) -> list[Done]:
        found = super().done()
        self.ended += found
        return found

    @property
    def ended(self) -> list[Done]:
        return self.__dict__.setdefault("ended_jobs", [])

    @ended.setter
    def ended(self, found: list[Done]) -> None:
        self.__dict__["ended_jobs"] = found


def test_an_interrupted_rehearsal_goes_on(tmp_path: Path) -> None:
    killed = Killed.of(good)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, executor=killed)
    with (tmp_path / "computed.jsonl").open("a") as file:
        file.write('{"key": "half a li')
    rehearsal = run(tmp_path)
    assert rehearsal.end is End.COMPLETED
    assert (rehearsal.computed, rehearsal.recalled) == (12 - len(killed.ended), len(killed.ended))
    assert json.loads((tmp_path / "computed.jsonl").read_text().splitlines()[-1])["report"]["outcome"] == 1


def test_time_may_run_out(tmp_path: Path) -> None:
    rehearsal = run(tmp_path, pace=Pace(until_h=0.2))
    assert rehearsal.end is End.UNFINISHED
    assert rehearsal.ended_s - rehearsal.began_s <= 0.2 * HOUR_S


def test_what_start_refuses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none of the 11 simulated nodes .* to node-000010, have no tags"):
        run(tmp_path, target={"tags": ["berlin"]})
    with pytest.raises(ConfigurationError, match="min_reports is 5"):
        run(tmp_path, gates={"min_reports": 5})
