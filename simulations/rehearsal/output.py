"""The files of a rehearsal: all of it as JSON, a table of devices, and a page to look at."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simulations.rehearsal.devices import reported_times, told, write_devices
from simulations.rehearsal.figure import timeline
from simulations.rehearsal.rehearse import Rehearsal
from simulations.rehearsal.sections import headline, sections
from simulations.rehearsal.stages import Decided, StageResult, decisions, remaining, stage_results
from simulations.rehearsal.times import day_text, hours
from simulations.reporting.sections import Page, Section, render_page
from simulations.settings import FleetSettings
from tinytrain_core.files import write_file

REHEARSAL_FILE, PAGE_FILE = "rehearsal.json", "report.html"


@dataclass(frozen=True)
class Findings:
    """What came of a rehearsal, as it is shown.

    Attributes:
        record: everything, as JSON takes it. sections: for a terminal. page: the HTML file.
    """

    record: dict[str, Any]
    sections: Sequence[Section]
    page: Path


def _stage_record(stage: StageResult) -> dict[str, Any]:
    times = {
        f"{name}{ending}": change(at_s)
        for name, at_s in (("began", stage.began_s), ("ended", stage.ended_s))
        for ending, change in (("", day_text), ("_h", hours))
    }
    rest = {name: value for name, value in asdict(stage).items() if name not in ("began_s", "ended_s")}
    return {"stage": rest.pop("number"), "size": rest.pop("title"), "result": rest.pop("result")} | times | rest


def _decision_record(decided: Decided) -> dict[str, Any]:
    return {"when": day_text(decided.at_s), "hours": hours(decided.at_s)} | {
        "what": decided.what,
        "reason": decided.reason,
        "figures": dict(decided.figures),
    }


def _record(
    rehearsal: Rehearsal,
    settings: FleetSettings,
    command: str,
    stages: Sequence[StageResult],
    decided: Sequence[Decided],
    left: dict[str, int],
) -> dict[str, Any]:
    state, total = rehearsal.rollout, rehearsal.link.account.total()
    return {
        "command": command,
        "end": rehearsal.end.value,
        "headline": headline(rehearsal),
        "virtual_hours": hours(rehearsal.ended_s - rehearsal.began_s),
        "release": state.version,
        "digest": state.digest,
        "back_to": state.back_to,
        "reason": state.reason,
        "stages": [_stage_record(stage) for stage in stages],
        "decisions": [_decision_record(each) for each in decided],
        "remaining": left,
        "causes": dict(sorted(rehearsal.link.account.causes.items())),
        "totals": asdict(total),
        "rollout": state.spec.model_dump(mode="json"),
        "fleet": settings.model_dump(mode="json"),
    }


def write_findings(rehearsal: Rehearsal, settings: FleetSettings, command: str, out: Path) -> Findings:
    """Write all files; the same rehearsal gives the same bytes.

    Raises:
        StorageError: the folder cannot be written.
    """
    decided, reports, left = decisions(rehearsal), told(rehearsal), remaining(rehearsal)
    stages = stage_results(rehearsal, decided)
    record = _record(rehearsal, settings, command, stages, decided, left)
    write_file(out / REHEARSAL_FILE, json.dumps(record, indent=2).encode() + b"\n")
    write_devices(rehearsal, reports, out)
    devices = sum(stage.devices for stage in stages)
    back_s = next((each.at_s for each in decided if each.what == "rolling back"), None)
    plot = timeline(stages, reported_times(reports), rehearsal.ended_s - rehearsal.began_s, devices, back_s)
    page = Page(f"Rehearsal of rollout {rehearsal.rollout.spec.name}", headline(rehearsal), command)
    text = render_page(page, sections(rehearsal, stages, decided, left, [plot]))
    write_file(out / PAGE_FILE, text.encode())
    return Findings(record, sections(rehearsal, stages, decided, left), out / PAGE_FILE)
