"""What gates can judge in a rehearsal, what it says where they cannot, and what is not computed for nothing."""

from pathlib import Path
from typing import Any

import pytest

from client.config import DeviceConfig
from simulations.rehearsal.folder import Releases, partition_of
from simulations.rehearsal.rehearse import End, Rehearsal
from simulations.rehearsal.sections import headline, sections
from simulations.rehearsal.stages import decisions, remaining, stage_results
from tests.simulations.rehearsals import backbone_file, report_of, run
from tinytrain_core.backbones.weights import digest
from tinytrain_core.report import PersonalisationReport
from tinytrain_core.wire import PersonaliseRequest

HOUR_S = 3_600.0


def notes(rehearsal: Rehearsal, title: str = "Gates") -> list[str]:
    """What is said below a table."""
    decided = decisions(rehearsal)
    found = sections(rehearsal, stage_results(rehearsal, decided), decided, remaining(rehearsal))
    return [note for each in found if each.title == title for note in each.notes]


def test_a_release_that_is_worse_than_the_one_before_is_stopped(tmp_path: Path) -> None:
    """Every device gains over the release's own start, and has less than the release in use gave it."""
    stable = backbone_file(tmp_path, 2)
    before = digest(Path(stable).read_bytes())

    def report(device: DeviceConfig, request: PersonaliseRequest) -> PersonalisationReport:
        return report_of(device, 0.9 if request.digest == before else 0.7)

    releases = Releases(backbone_file(tmp_path, 1), stable)
    rehearsal = run(tmp_path / "judged", report, releases=releases)
    assert rehearsal.end is End.ROLLED_BACK
    first = stage_results(rehearsal, decisions(rehearsal))[0]
    assert first.verdict == "accuracy changed by -0.200 against another release; it may fall by 0.1"
    assert rehearsal.computed == 2 * first.devices, "those alone that were ordered"
    assert rehearsal.link.account.total().works <= 2 * first.devices
    gates = {"min_reports": 3, "max_drop": None}
    off = run(tmp_path / "off", report, releases=releases, gates=gates)
    assert (off.end, off.computed) == (End.COMPLETED, 12)


@pytest.mark.parametrize(("stable", "told"), [(None, True), ("", False)])
def test_it_says_where_a_gate_was_not_judged(tmp_path: Path, stable: str | None, told: bool) -> None:
    rehearsal = run(tmp_path, releases=Releases("", stable))
    assert any("max_drop was not judged" in note for note in notes(rehearsal)) is told
    sentence = "Without --stable max_drop was not judged, and the way back leads to the same weights."
    assert headline(rehearsal).endswith(sentence) is told


def test_only_a_way_back_of_its_own_accord_needs_an_order_signed_before(tmp_path: Path) -> None:
    asked = "`tinytrain-server release create --rollback-to STABLE --withdraws 2`"
    for rollback, needed in (("auto", True), ("none", False)):
        rehearsal = run(tmp_path / rollback, rollback=rollback)
        assert any(asked in note for note in notes(rehearsal, "Stages")) is needed


def test_it_says_what_to_do_where_a_stage_has_too_few(tmp_path: Path) -> None:
    spec: dict[str, Any] = {"stages": [{"devices": 3}, {"percent": 100}], "deadline_s": HOUR_S}
    canary = run(tmp_path / "first", **spec).rollout.nodes
    away = min(partition_of(name) for name, node in canary.items() if node.stage == 0 and len(node.devices) == 1)
    stays = "".join(f"{node},0,3.1e7\n" for node in range(11) if node != away)
    (tmp_path / "trace.csv").write_text(f"node,start_s,end_s\n{stays}{away},3e7,3.1e7\n")
    fleet = {"availability": {"kind": "trace", "file": str(tmp_path / "trace.csv"), "period_s": 3.1e7}}
    rehearsal = run(tmp_path / "second", fleet=fleet, **spec)
    assert rehearsal.end is End.HALTED
    assert any("min_reports = 3" in note for note in notes(rehearsal))
    assert remaining(rehearsal)["waiting: not ordered; it was away, or its turn not come"] == 1


def test_what_is_never_reported_is_not_computed(tmp_path: Path) -> None:
    rehearsal = run(tmp_path, fleet={"faults": {"drop_out": 1.0}}, retries=0, deadline_s=HOUR_S)
    assert rehearsal.end is End.HALTED
    assert rehearsal.link.account.causes["drop_out"] >= 3
    assert rehearsal.computed == 0
