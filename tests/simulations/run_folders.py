"""Folders of finished runs as the simulator leaves them, with figures that are invented."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from client.config import NodeConfig
from server.config import RunSettings
from server.exchange import Cause, Missing
from server.results import Results, RoundResult
from simulations.population import node_configs
from simulations.run_folder import prepare
from simulations.settings import FleetSettings, load_settings
from simulations.world.visit import Visit, Work
from tests.simulations.fleets import make_report
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.report import PersonalisationReport
from tinytrain_core.wire import QUERY_PROFILE, TRAIN_PERSONALISE

SPEC = load_spec("mcunet-5fps")
START_S, ROUND_S = 1000.0, 500.0
DOWN, UP = 1003, 101  # bytes of a message that trains, and of its answer
ASKED_DOWN, ASKED_UP = 10, 4


@dataclass
class Story:
    """What is to happen in a run of one or more rounds.

    Attributes:
        gains: device -> what it gains; 0.1 where it is silent.
        causes: node -> why it never answers a request to train. late: nodes whose answer comes too late.
        refused: nodes whose answer the server refuses. away: nodes that no round begins with.
        silent: devices of which their node's answer has no report.
    """

    gains: dict[int, float] = field(default_factory=dict)
    causes: dict[int, str] = field(default_factory=dict)
    late: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    away: tuple[int, ...] = ()
    silent: tuple[int, ...] = ()

    def missing(self, nodes: Sequence[int]) -> list[Missing]:
        found = dict.fromkeys(self.causes, Cause.LATE) | dict.fromkeys(self.late, Cause.LATE)
        found |= {node: Cause.FAILED for node, cause in self.causes.items() if cause == "crash"}
        found |= dict.fromkeys(self.refused, Cause.REFUSED)
        return [Missing(node + 1, cause) for node, cause in sorted(found.items()) if node in nodes]


def class_numbers(nodes: Sequence[NodeConfig]) -> dict[int, int]:
    return {device.number: device.device_class.number for node in nodes for device in node.devices}


def reports_of(nodes: Sequence[NodeConfig], story: Story, number: int, **fields: Any) -> list[PersonalisationReport]:
    lost = {*story.causes, *story.late, *story.refused, *story.away}
    found = []
    for partition, node in enumerate(nodes):
        for device in node.devices:
            if partition in lost or device.number in story.silent:
                continue
            gain, before = story.gains.get(device.number, 0.1), 0.4 + device.number % 7 / 100
            common = {"round": number, "method": 8, "estimated_s": 10.0 + device.number} | fields
            found.append(make_report(device.number, device.device_class.number, before, before + gain, **common))
    return found


def visits_of(nodes: Sequence[NodeConfig], story: Story, number: int) -> list[Visit]:
    start_s = START_S + ROUND_S * (number - 1)
    found = []
    for partition, node in enumerate(nodes):
        if partition in story.away:
            continue
        asked = Visit(partition, QUERY_PROFILE, number, start_s, start_s, start_s + 1, ASKED_DOWN, ASKED_UP)
        works = tuple(Work(device.number, 10.0 + device.number, 2.0) for device in node.devices)
        sent_s, cause = start_s + 2, story.causes.get(partition, "")
        arrived_s = sent_s + max(work.time_s for work in works) + (ROUND_S if partition in story.late else 0)
        trained = Visit(partition, TRAIN_PERSONALISE, number, sent_s, sent_s + 1, arrived_s, DOWN, UP, works)
        if cause:
            trained = replace(trained, arrived_s=None, up_bytes=0, works=(), cause=cause)
        found += [asked, trained]
    return sorted(found, key=lambda visit: (visit.sent_s, visit.node, visit.number))


def write_lines(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_run(
    out: Path, story: Story | None = None, settings: FleetSettings | None = None, old: bool = False, **fields: Any
) -> list[NodeConfig]:
    """A finished run.

    Args:
        old: without what only newer runs say: nodes, visits and the simulation's own account.
        fields: of every report.
    """
    story, settings = story or Story(), settings or load_settings(None, {"devices": 12})
    prepare(out, settings, f"tinytrain-sim fleet --out {out.name}", SPEC)
    nodes = list(node_configs(settings, out))
    results, visits = Results(RunSettings(out=str(out)), "a" * 64), []
    there = [partition for partition in range(len(nodes)) if partition not in story.away]
    for number in range(1, settings.rounds + 1):
        reports = reports_of(nodes, story, number, **fields)
        ids = tuple(partition + 1 for partition in there)
        results.append(RoundResult(number, ids, tuple(reports), tuple(story.missing(there)), ids, 1000))
        visits += visits_of(nodes, story, number)
    if not old:
        write_lines(out / "nodes.jsonl", [node.model_dump_json(exclude_unset=True) for node in nodes])
        write_lines(out / "visits.jsonl", [json.dumps(asdict(visit)) for visit in visits])
        (out / "simulation.json").write_text(json.dumps({"engine": "workers", "workers": 2}))
    return nodes
