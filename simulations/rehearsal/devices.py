"""What became of each device: a table of its own, a row each, and how many had reported by when."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.fleet.database import Database
from server.fleet.rollout.figure import TRANSIENT
from server.fleet.rollout.progress import code_name
from simulations.rehearsal.folder import node_name
from simulations.rehearsal.rehearse import Rehearsal
from simulations.rehearsal.times import hours
from tinytrain_core.files import write_file
from tinytrain_core.report import Outcome, PersonalisationReport

DEVICES_FILE = "devices.csv"
COLUMNS = (
    "device",
    "device_class",
    "node",
    "stage",  # from 1; empty where the node is not in the rollout
    "step",  # where the node stands: waiting, ordered, done, failed, refused
    "attempts",  # orders that the node was given, those back included
    "note",  # why the node waits, failed or refused
    "reported_h",  # virtual hours from the start until its first report that counts was stored; empty is never
    "outcome",
    "error",
    "accuracy_before",
    "accuracy_after",
    "gain",
    "updated_weights",
    "estimated_s",  # on its class, before its own speed
    "estimated_j",
    "node_down_bytes",  # of the whole node, over the air
    "node_up_bytes",
    "node_energy_j",
)
Told = dict[int, tuple[float, PersonalisationReport]]


def told(rehearsal: Rehearsal) -> Told:
    """Device -> when its first report of the release that counts was stored, in seconds from the start; and it."""
    state = rehearsal.rollout
    query = (
        "SELECT device, received_s, fields FROM reports WHERE rollout = ? AND release_version IN (0, ?)"
        f" AND error NOT IN ({', '.join(str(int(code)) for code in sorted(TRANSIENT))})"
        " ORDER BY received_s DESC, attempt DESC, report_id DESC"
    )
    with Database(rehearsal.fleet.config.database) as database:
        rows = database.rows(query, state.number, state.version)
    return {
        row["device"]: (
            row["received_s"] - rehearsal.began_s,
            PersonalisationReport.model_validate_json(row["fields"]),
        )
        for row in rows
    }


def _of_report(report: PersonalisationReport) -> dict[str, Any]:
    known = {
        "outcome": Outcome(report.outcome).name.lower(),
        "error": code_name(report.error) if report.error else "",
        "estimated_s": report.estimated_s,
        "estimated_j": report.estimated_j,
        "updated_weights": report.updated_weights,
    }
    if not report.has_accuracies:
        return known
    figures = ("accuracy_before", "accuracy_after")
    return known | {name: getattr(report, name) for name in figures} | {"gain": report.gain}


def _rows(rehearsal: Rehearsal, reports: Told) -> Iterator[dict[str, Any]]:
    for partition, node in enumerate(rehearsal.nodes):
        progress = rehearsal.rollout.nodes.get(node_name(partition))
        cost = rehearsal.link.account.nodes[partition]
        common: dict[str, Any] = {
            "node": partition,
            "node_down_bytes": cost.down_bytes,
            "node_up_bytes": cost.up_bytes,
            "node_energy_j": cost.energy_j,
        }
        if progress is not None:
            place = {"stage": progress.stage + 1, "step": progress.step.value}
            common |= place | {"attempts": progress.attempt, "note": progress.note}
        for device in node.devices:
            row = common | {"device": device.number, "device_class": device.profile}
            if (found := reports.get(device.number)) is not None:
                row |= {"reported_h": hours(found[0])} | _of_report(found[1])
            yield row


def write_devices(rehearsal: Rehearsal, reports: Told, out: Path) -> Path:
    """Write the table.

    Raises:
        StorageError: the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(rehearsal, reports))
    write_file(out / DEVICES_FILE, text.getvalue().encode())
    return out / DEVICES_FILE


def reported_times(reports: Told) -> list[float]:
    """When devices had first reported, in seconds from the start, the earliest first."""
    return sorted(at_s for at_s, _ in reports.values())
