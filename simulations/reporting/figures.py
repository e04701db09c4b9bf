"""The three plots of a report: accuracy of each device, memory against budget, and the layers chosen."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from simulations.reporting.summary import ClassRow, Summary, evaluated, latest
from simulations.reporting.svg import (
    ACCENT,
    FONT_SIZE,
    GRID,
    INK,
    MUTED,
    PAPER,
    WORSE,
    class_colour,
    new_axes,
    to_svg,
)
from simulations.reporting.units import bytes_text, gain_text, percent_text
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.report import Outcome, PersonalisationReport

NARROW = 480.0
MAX_PLOT = 900.0
HEADER = 26.0
DEVICE_PITCH = 15.0
CLASS_BAND = 30.0
KIB = 1024


def _of_class(row: ClassRow, reports: Sequence[PersonalisationReport]) -> list[PersonalisationReport]:
    return [report for report in reports if report.profile == row.profile]


def _grid(axes: Axes) -> None:
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_yticks([])


def _header(axes: Axes, y: float, title: str, note: str) -> None:
    """A class's name and figure above its rows, `y` in data coordinates."""
    place = axes.get_yaxis_transform()
    axes.text(0, y, title, transform=place, color=INK, fontsize=FONT_SIZE, fontweight="bold", va="center")
    axes.text(1, y, note, transform=place, color=MUTED, fontsize=FONT_SIZE - 1, ha="right", va="center")


def _dumbbell(axes: Axes, y: float, report: PersonalisationReport, colour: str) -> None:
    before, after = 100 * report.accuracy_before, 100 * report.accuracy_after
    line = WORSE if after < before else colour
    axes.plot([before, after], [y, y], color=line, linewidth=2, alpha=0.55, solid_capstyle="round")
    axes.plot([before], [y], "o", markersize=5.5, markerfacecolor=PAPER, markeredgecolor=line, markeredgewidth=1.4)
    kept = report.outcome == Outcome.ADAPTED
    axes.plot([after], [y], "o", markersize=5.5, color=line, alpha=1 if kept else 0.45, markeredgewidth=0)


def accuracy_figure(summary: Summary, reports: Sequence[PersonalisationReport]) -> str:
    """Holdout accuracy of each device before (hollow) and after (full), by class, sorted by gain."""
    done = evaluated(latest(reports))
    rows = [row for row in summary.rows if row.before is not None]
    pitch = min(DEVICE_PITCH, (MAX_PLOT - HEADER * len(rows)) / max(len(done), 1))
    height = HEADER * len(rows) + pitch * len(done)
    figure, axes = new_axes(NARROW, height + 46, 12, 12, 4, 42)
    _grid(axes)
    y = 0.0
    for row in rows:
        _header(axes, y + HEADER * 0.6, row.title, f"{gain_text(row.gain)} points")
        y += HEADER
        members = _of_class(row, done)
        for report in sorted(members, key=lambda r: (r.accuracy_before - r.accuracy_after, r.device)):
            _dumbbell(axes, y + pitch / 2, report, class_colour(summary.rows.index(row)))
            y += pitch
    lowest = min((min(r.accuracy_before, r.accuracy_after) for r in done), default=0.0)
    axes.set_xlim(max(10 * math.floor(10 * lowest - 0.2), 0) - 2, 102)
    axes.set_ylim(max(height, 1), 0)
    axes.set_xlabel("accuracy on the device's own holdout, %")
    return to_svg(figure, "accuracy", "Holdout accuracy of each device before and after personalising")


def _memory_ticks(low: float, high: float) -> list[float]:
    """At most about six powers of two between the two byte counts."""
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    step = max(2, math.ceil((last - first) / 5))
    return [2.0**power for power in range(first, last + 1) if power % step == 0]


def _memory_band(axes: Axes, top: float, members: Sequence[PersonalisationReport], colour: str, left: float) -> None:
    middle = top + CLASS_BAND / 2
    budget = min(report.memory_budget_bytes for report in members)
    axes.barh(middle, budget - left, CLASS_BAND, left=left, color=colour, alpha=0.13, linewidth=0)
    for budget in {report.memory_budget_bytes for report in members}:
        axes.plot([budget, budget], [top, top + CLASS_BAND], color=colour, linewidth=3, solid_capstyle="butt")
    for position, report in enumerate(members):
        y = top + CLASS_BAND * (0.2 + 0.6 * (position + 0.5) / len(members))
        if report.outcome == Outcome.CANNOT_AFFORD:
            axes.plot([report.live_memory_bytes], [y], "o", ms=5.5, mfc=PAPER, mec=colour, mew=1.2)
        elif report.live_memory_bytes:
            over = report.live_memory_bytes > report.memory_budget_bytes
            axes.plot([report.live_memory_bytes], [y], "o", ms=5.5, color=WORSE if over else colour, mew=0)


def memory_figure(summary: Summary, reports: Sequence[PersonalisationReport]) -> str:
    """Live memory of each device (dots) against its budget (bar that ends in a line), bytes on a log scale."""
    done = [report for report in evaluated(latest(reports)) if report.memory_budget_bytes]
    rows = [row for row in summary.rows if _of_class(row, done)]
    sizes = [n for r in done for n in (r.live_memory_bytes, r.memory_budget_bytes) if n] or [KIB]
    left, right = min(sizes) / 1.6, max(sizes) * 1.6
    height = (HEADER + CLASS_BAND) * len(rows)
    figure, axes = new_axes(NARROW, height + 50, 12, 12, 4, 46)
    axes.set_xscale("log", base=2)
    for position, row in enumerate(rows):
        top = position * (HEADER + CLASS_BAND)
        budget = bytes_text(row.memory_budget_bytes)
        used = f"at most {percent_text(row.memory_share)} of" if row.memory_share is not None else "no update fits"
        _header(axes, top + HEADER * 0.55, row.title, f"{used} {budget}")
        colour = class_colour(summary.rows.index(row))
        _memory_band(axes, top + HEADER, _of_class(row, done), colour, left)
    ticks = _memory_ticks(left, right)
    axes.set_xticks(ticks, [bytes_text(tick).replace(".00", "").replace(".0", "") for tick in ticks], rotation=0)
    axes.minorticks_off()
    _grid(axes)
    axes.set_xlim(left, right)
    axes.set_ylim(max(height, 1) + 4, 0)
    axes.set_xlabel("live memory of the training step, log scale")
    return to_svg(figure, "memory", "Live memory of each device against its budget")


def channel_shares(spec: BackboneSpec, reports: Sequence[PersonalisationReport]) -> list[float]:
    """For each convolution, the share of its output channels updated, averaged over the devices."""
    known = [report for report in reports if len(report.updated_channels) == len(spec.convs)]
    if not known:
        return [0.0] * len(spec.convs)
    return [
        sum(report.updated_channels[conv.index] for report in known) / (conv.out_channels * len(known))
        for conv in spec.convs
    ]


LAYER_HEIGHT = 24.0
LAYER_HEADER = 22.0
WIDE = 1000.0


def _cells(places: Sequence[tuple[float, float]], **style: Any) -> PathPatch:
    """One shape made of a cell at each place, so that a page holds one path and not hundreds."""
    corners = ((0.06, 0.0), (0.94, 0.0), (0.94, LAYER_HEIGHT), (0.06, LAYER_HEIGHT), (0.06, 0.0))
    vertices = [(x + dx, y + dy) for x, y in places for dx, dy in corners]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(places)
    return PathPatch(Path(vertices, codes), linewidth=0, **style)


def _class_cells(axes: Axes, y: float, shares: Sequence[float]) -> None:
    axes.add_patch(_cells([(float(x), y) for x in range(len(shares))], facecolor=GRID, alpha=0.55))
    for x, share in enumerate(shares):
        if share:
            axes.add_patch(_cells([(float(x), y)], facecolor=ACCENT, alpha=0.12 + 0.88 * share))


def _block_names(axes: Axes, spec: BackboneSpec, bottom: float) -> None:
    """Each block's number below its convolutions, and a tick where it starts."""
    starts = [conv.index for conv in spec.convs if conv.index == spec.block_start(conv.index)]
    for start, end in zip(starts, [*starts[1:], len(spec.convs)], strict=True):
        conv = spec.convs[start]
        axes.plot([start, start], [bottom + 3, bottom + 9], color=MUTED, linewidth=0.8)
        name = {"stem": "in", "mix": "mix"}.get(conv.kind, str(conv.block))
        axes.text((start + end) / 2, bottom + 5, name, ha="center", va="top", fontsize=FONT_SIZE - 1, color=MUTED)


def layers_figure(
    summary: Summary, reports: Sequence[PersonalisationReport], spec: BackboneSpec, width: float = WIDE
) -> str:
    """Which layers each class chose: one cell for each class and convolution, darker for more channels."""
    done = evaluated(latest(reports))
    rows = [row for row in summary.rows if _of_class(row, done)]
    height = (LAYER_HEIGHT + LAYER_HEADER) * len(rows)
    figure, axes = new_axes(width, height + 52, 6, 6, 4, 48)
    axes.set(xlim=(0, len(spec.convs)), ylim=(max(height, 1), 0), xticks=[], yticks=[])
    for position, row in enumerate(rows):
        top = position * (LAYER_HEIGHT + LAYER_HEADER)
        layers = f"{row.updated_layers.mean:.1f} layers on average" if row.updated_layers else "no layer"
        _header(axes, top + LAYER_HEADER * 0.5, row.title, layers)
        _class_cells(axes, top + LAYER_HEADER, channel_shares(spec, _of_class(row, done)))
    _block_names(axes, spec, height)
    axes.set_xlabel("blocks of the backbone, input on the left", labelpad=22)
    return to_svg(figure, f"layers-{width:g}", "Share of the channels of each layer that each device class updated")
