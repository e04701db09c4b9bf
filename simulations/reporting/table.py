"""The table at the end of a run: drawn by rich in a terminal, plain columns elsewhere, or JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from simulations.reporting.summary import WHOLE_FLEET, ClassRow, Summary
from simulations.reporting.units import (
    NOTHING,
    accuracy_text,
    bytes_text,
    count_text,
    gain_text,
    joules_text,
    percent_text,
    points_text,
    seconds_text,
)

ACCURACY_COLUMNS = ("devices\ndone", "accuracy\nbefore, %", "after, %", "gain,\npoints", "got\nworse", "worst\ntenth")
COST_COLUMNS = (
    "weights\nupdated",
    "live memory,\nof budget",
    "backward\nMACs, of\nFullTrain's",
    "time,\nestimated",
    "energy,\nestimated",
)
ONE_TABLE_WIDTH = 138  # of a terminal; a narrower one gets two tables, one below the other
NOTE = (
    "± is the 95 % interval of the mean over three or more devices (Student's t). Worse: adapted backbone below base "
    "on the holdout; such a device keeps its base. Worst tenth: mean gain, in points, of the tenth that gained least. "
    "Live memory: the largest share of a device's own budget. Backward MACs: of FullTrain's. Times and energies are "
    "estimates from the device catalogue."
)


def _memory(row: ClassRow) -> str:
    """Live memory of a budget; that none fits, only where that is why nobody trained."""
    fleet = row.title == WHOLE_FLEET  # whose unequal devices have no common budget
    if row.memory_share is not None:
        share = percent_text(row.memory_share)
        return f"at most {share}" if fleet else f"{share} of {bytes_text(row.memory_budget_bytes)}"
    if not row.cannot_afford:
        return NOTHING
    return "none fits" if fleet else f"none fits {bytes_text(row.memory_budget_bytes)}"


def cells(row: ClassRow) -> tuple[str, ...]:
    """A row as text: the device class, then the accuracy and the cost columns."""
    return (
        row.title,
        f"{row.devices - row.failed} of {row.devices}" if row.failed else f"{row.devices}",
        accuracy_text(row.before),
        accuracy_text(row.after),
        gain_text(row.gain),
        percent_text(row.worse_share),
        points_text(row.worst_decile),
        count_text(row.updated_weights.mean) if row.updated_weights else NOTHING,
        _memory(row),
        percent_text(row.backward_share, 1),
        seconds_text(row.estimated_s),
        joules_text(row.estimated_j),
    )


def _table(summary: Summary, columns: Sequence[str], chosen: Sequence[int]) -> Table:
    """The table of the `chosen` columns of `cells`, beside the device class."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("device class")
    for name in columns:
        table.add_column(name, justify="right")
    for row in summary.rows:
        table.add_row(row.title, *(cells(row)[i] for i in chosen))
    table.add_section()
    table.add_row(WHOLE_FLEET, *(cells(summary.fleet)[i] for i in chosen), style="bold")
    return table


def plain_table(summary: Summary) -> str:
    """The table as aligned text of whatever width it needs, one line a row."""
    head = ["device class", *(name.replace("\n", " ") for name in ACCURACY_COLUMNS + COST_COLUMNS)]
    rows = [head, *(list(cells(row)) for row in (*summary.rows, summary.fleet))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    pad = [str.ljust, *[str.rjust] * (len(head) - 1)]
    return "\n".join("  ".join(pad[i](row[i], widths[i]) for i in range(len(head))).rstrip() for row in rows)


def print_table(summary: Summary, console: Console) -> None:
    """Print the table and what its columns mean."""
    accuracy = range(1, 1 + len(ACCURACY_COLUMNS))
    cost = range(accuracy.stop, accuracy.stop + len(COST_COLUMNS))
    if not console.is_terminal:
        console.print(f"{plain_table(summary)}\n\n{NOTE}", soft_wrap=True, highlight=False, markup=False)
        return
    if console.width >= ONE_TABLE_WIDTH:
        console.print(_table(summary, ACCURACY_COLUMNS + COST_COLUMNS, [*accuracy, *cost]))
    else:
        console.print(_table(summary, ACCURACY_COLUMNS, accuracy))
        console.print(_table(summary, COST_COLUMNS, cost))
    console.print(NOTE, style="dim", highlight=False)


def as_json(summary: Summary, extra: dict[str, Any]) -> str:
    """The same as JSON, with `extra` keys beside it."""
    return json.dumps(asdict(summary) | extra, indent=2)
