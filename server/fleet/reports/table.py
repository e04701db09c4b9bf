"""Figures of a fleet as a table for people, as JSON for programs, and as CSV for spreadsheets."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from server.fleet.reports.figures import EITHER, NOISY, QUANTITIES, SHARES, Figures, FleetFigures, Key, Quantity
from server.fleet.reports.rows import By

RULE = "Of each device in a group its last report counts, once."
TOTAL = "all shown"
NOTHING = "–"
_QUANTILES = tuple(f"p{round(100 * share)}" for share in SHARES)
_NUMBERS = ("devices", "failed", "worse", "before, %", "after, %", "gain, points", "10/50/90 %")
_COSTS = ("seconds", "memory, %", "measured, %")  # means; memory of the budget, measured of what was predicted
_OPTIONAL = ("gain with noise", "errors")  # columns that are there where some group has any


def fewer_than(minimum: int) -> str:
    """What stands in the place of the devices of too few nodes."""
    return f"of fewer than {minimum} nodes"


def key_name(by: By, part: int | str) -> str:
    """One part of a group's key for a person."""
    return str(part) if by is not By.RELEASE else f"release {part}" if part else "no release"


def key_text(figures: FleetFigures, key: Key) -> str:
    """A group's key for a person."""
    return ", ".join(key_name(by, part) for by, part in zip(figures.by, key, strict=True))


def counts_text(counts: Mapping[str, int]) -> str:
    """How many of what."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def share_text(quantity: Quantity | None) -> str:
    """The mean of a share in per cent, with its interval."""
    if quantity is None:
        return NOTHING
    interval = "" if quantity.interval is None else f"±{100 * quantity.interval:.1f}"
    return f"{100 * quantity.mean:.1f}{interval}"


def gain_text(quantity: Quantity | None) -> str:
    """A mean gain in points, with its sign and its interval."""
    text = share_text(quantity)
    return f"+{text}" if quantity is not None and quantity.mean > 0 else text


def plain_share(quantity: Quantity | None) -> str:
    """The share of the devices for which something holds."""
    return NOTHING if quantity is None else f"{quantity.mean:.0%}"


def mean_text(quantity: Quantity | None, scale: float = 1.0, digits: int = 1) -> str:
    """The mean alone."""
    return NOTHING if quantity is None else f"{scale * quantity.mean:.{digits}f}"


def quantiles_text(quantity: Quantity | None, scale: float = 1.0, digits: int = 1) -> str:
    """The three quantiles; the mean where there are none."""
    if quantity is None:
        return NOTHING
    if quantity.quantiles is None:
        return f"mean {scale * quantity.mean:.{digits}f}"
    return "/".join(f"{round(scale * value, digits) + 0.0:.{digits}f}" for value in quantity.quantiles)


def has_noise(figures: FleetFigures) -> bool:
    """Whether a group that is shown has accuracies with noise."""
    return any(shown.quantities[f"{NOISY}gain"] is not None for _, shown in figures.shown)


def _cells(figures: Figures) -> dict[str, str]:
    of = figures.quantities
    spread = NOTHING if of["gain"] is None or of["gain"].quantiles is None else quantiles_text(of["gain"], 100, 0)
    cells = [
        f"{figures.devices} ({figures.reports})" if figures.reports > figures.devices else f"{figures.devices}",
        f"{figures.failed_share:.0%}",
        plain_share(of["worse"]),
        share_text(of["accuracy_before"]),
        share_text(of["accuracy_after"]),
        gain_text(of["gain"]),
        spread,
        mean_text(of["wall_s"]),
        mean_text(of["memory_budget_share"], 100, 0),
        mean_text(of["measured_memory_share"], 100),
    ]
    noisy = gain_text(of[f"{NOISY}gain"])
    return dict(zip((*_NUMBERS, *_COSTS, *_OPTIONAL), (*cells, noisy, counts_text(figures.errors)), strict=True))


def report_table(figures: FleetFigures) -> Table:
    """A row for each group, and the notes that the figures need."""
    table = Table(box=SIMPLE_HEAD, caption_justify="left", caption=" ".join(notes(figures)))
    there = {"gain with noise": has_noise(figures), "errors": any(shown.errors for _, shown in figures.shown)}
    columns = [*_NUMBERS, *_COSTS, *(name for name in _OPTIONAL if there[name])]
    few = {"devices": fewer_than(figures.minimum_cohort)}
    for by in figures.by:
        table.add_column(by.value, no_wrap=True)
    for name in columns:
        table.add_column(name, overflow="fold", justify="left" if name == "errors" else "right")
    for group in figures.groups:
        cells = few if group.figures is None else _cells(group.figures)
        table.add_row(*map(str, group.key), *(cells.get(name, NOTHING) for name in columns))
    if figures.total is not None:
        table.add_section()
        cells = _cells(figures.total)
        table.add_row(TOTAL, *[""] * (len(figures.by) - 1), *(cells[name] for name in columns))
    return table


def notes(figures: FleetFigures) -> list[str]:
    """What a reader has to know, as sentences."""
    found = [
        RULE,
        "Means over devices with 95 % intervals; of three figures 10, 50 and 90 % of the devices have less.",
        "Memory is what the training step needs at once, of its budget; measured, of what was predicted.",
    ]
    if figures.hidden:
        found.append(f"Figures of devices {fewer_than(figures.minimum_cohort)} are not shown.")
    if any(EITHER in shown.outcomes for _, shown in figures.shown):
        found.append(f"How many got worse is shown where it and its opposite hold on {figures.minimum_cohort} nodes.")
    if has_noise(figures):
        found.append("Accuracies with noise are apart: of them there is a mean, and no quantile or share.")
    return found


def _quantity_json(quantity: Quantity | None) -> dict[str, Any] | None:
    if quantity is None:
        return None
    quantiles = dict(zip(_QUANTILES, quantity.quantiles, strict=True)) if quantity.quantiles else None
    devices = {"devices": quantity.devices}
    return {"mean": quantity.mean, "interval": quantity.interval, "quantiles": quantiles} | devices


def _figures_json(figures: Figures) -> dict[str, Any]:
    return {
        "devices": figures.devices,
        "nodes": figures.nodes,
        "reports": figures.reports,
        "outcomes": dict(figures.outcomes),
        "errors": dict(figures.errors),
        "failed_share": figures.failed_share,
        **{what: _quantity_json(figures.quantities[what]) for what in QUANTITIES},
    }


def report_json(figures: FleetFigures) -> dict[str, Any]:
    """Everything; a group that is too small has its key and `devices` in words."""
    few: dict[str, Any] = {"devices": fewer_than(figures.minimum_cohort)}
    keys = [dict(zip([by.value for by in figures.by], group.key, strict=True)) for group in figures.groups]
    return {
        "rule": RULE,
        "by": [by.value for by in figures.by],
        "minimum_cohort": figures.minimum_cohort,
        "groups": [
            key | (few if group.figures is None else _figures_json(group.figures))
            for key, group in zip(keys, figures.groups, strict=True)
        ],
        "total": None if figures.total is None else _figures_json(figures.total),
    }


def _flat(group: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The columns of a group: nested names are joined, counts are one text."""
    for name, value in group.items():
        if name in ("outcomes", "errors"):
            yield name, counts_text(value)
        elif isinstance(value, Mapping):
            yield from ((f"{name}_{inner}", cell) for inner, cell in _flat(value))
        elif value is not None:
            yield name, value


def _columns(by: tuple[By, ...]) -> list[str]:
    parts = ("mean", "interval", *(f"quantiles_{name}" for name in _QUANTILES), "devices")
    head = [what.value for what in by] + ["devices", "nodes", "reports", "outcomes", "errors", "failed_share"]
    return head + [f"{what}_{part}" for what in QUANTITIES for part in parts]


def report_csv(figures: FleetFigures) -> str:
    """A line for each group, without the total; what is not shown is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _columns(figures.by), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(_flat(group)) for group in report_json(figures)["groups"])
    return buffer.getvalue()
