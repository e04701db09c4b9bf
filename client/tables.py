"""What the device's commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from tinytrain_core.console import Format
from tinytrain_core.devices.profile import profile_by_number
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome, PersonalisationReport

MIB = 2**20
PLAIN_WIDTH = 140  # columns where the output is not a terminal


def show(rows: Sequence[Mapping[str, Any]], style: Format) -> None:
    """Print rows that have the same keys."""
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    if style is Format.JSON:
        console.out(json.dumps(list(rows), indent=2), highlight=False)
        return
    table = Table(*(Column(name, overflow="fold") for name in (rows[0] if rows else ())), box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)


def _error_name(code: int) -> str:
    known = {int(member): member.name.lower().replace("_", " ") for member in ErrorCode}
    return known.get(code, str(code))


def _outcome(report: PersonalisationReport) -> str:
    name = Outcome(report.outcome).name.lower().replace("_", " ")
    return f"{name}: {_error_name(report.error)}" if report.outcome == Outcome.FAILED else name


COSTS = ("weights", "layers", "MiB of budget", "KiB in files", "MMACs of budget")


def cost_row(report: PersonalisationReport) -> dict[str, str]:
    """What a report says about the price of a plan; nothing where there is no plan."""
    if not report.memory_budget_bytes:
        return dict.fromkeys(COSTS, "")
    memory, budget = report.live_memory_bytes / MIB, report.memory_budget_bytes / MIB
    return {
        "weights": f"{report.updated_weights:,}",
        "layers": str(report.updated_layers),
        "MiB of budget": f"{memory:.2f} of {budget:.2f}",
        "KiB in files": f"{report.storage_bytes / 1024:,.0f}",
        "MMACs of budget": f"{report.backward_macs / 1e6:.1f} of {report.backward_macs_budget / 1e6:.1f}",
    }


def report_row(report: PersonalisationReport) -> dict[str, str]:
    """A report for a person."""
    profile = profile_by_number(report.profile)
    judged = report.holdout_images > 0
    return {
        "device": str(report.device),
        "profile": profile.name if profile else "unknown",
        "outcome": _outcome(report),
        "accuracy": f"{report.accuracy_before:.1%} -> {report.accuracy_after:.1%}" if judged else "",
        **cost_row(report),
        "took, s": f"{report.wall_s:.1f}" if report.wall_s else "",
    }


def show_reports(reports: Sequence[PersonalisationReport], style: Format) -> None:
    """Print reports: the whole of each as JSON, the main figures in a table."""
    rows = [r.model_dump(mode="json") if style is Format.JSON else report_row(r) for r in reports]
    show(rows, style)
