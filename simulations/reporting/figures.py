"""Two plots of a report: accuracy of each device, and the layers chosen."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from simulations.reporting.bands import CLASS_BAND, HEADER, NARROW, grid, header, of_class
from simulations.reporting.crowds import MANY, accuracy_boxes
from simulations.reporting.summary import Summary, evaluated, latest
from simulations.reporting.svg import ACCENT, FONT_SIZE, GRID, MUTED, PAPER, WORSE, class_colour, new_axes, to_svg
from simulations.reporting.units import gain_text
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.report import Outcome, PersonalisationReport

MAX_PLOT = 900.0
DEVICE_PITCH = 15.0


def _dumbbell(axes: Axes, y: float, report: PersonalisationReport, colour: str) -> None:
    before, after = 100 * report.accuracy_before, 100 * report.accuracy_after
    line = WORSE if after < before else colour
    axes.plot([before, after], [y, y], color=line, linewidth=2, alpha=0.55, solid_capstyle="round")
    axes.plot([before], [y], "o", markersize=5.5, markerfacecolor=PAPER, markeredgecolor=line, markeredgewidth=1.4)
    kept = report.outcome == Outcome.ADAPTED
    axes.plot([after], [y], "o", markersize=5.5, color=line, alpha=1 if kept else 0.45, markeredgewidth=0)


def _dumbbells(axes: Axes, top: float, pitch: float, members: Sequence[PersonalisationReport], colour: str) -> None:
    """A line for each device below `top`, sorted by gain."""
    ordered = sorted(members, key=lambda r: (r.accuracy_before - r.accuracy_after, r.device))
    for position, report in enumerate(ordered):
        _dumbbell(axes, top + pitch * (position + 0.5), report, colour)


def _lowest(reports: Sequence[PersonalisationReport]) -> float:
    """Where an axis of accuracies in per cent begins."""
    lowest = min((min(r.accuracy_before, r.accuracy_after) for r in reports), default=0.0)
    return max(10 * math.floor(10 * lowest - 0.2), 0) - 2


def accuracy_figure(summary: Summary, reports: Sequence[PersonalisationReport]) -> str:
    """Holdout accuracy before (hollow) and after (full) by class: of each device, or how that of many is spread."""
    done = evaluated(latest(reports))
    rows = [row for row in summary.rows if row.before is not None]
    many = len(done) > MANY
    pitch = min(DEVICE_PITCH, (MAX_PLOT - HEADER * len(rows)) / max(len(done), 1))
    height = (HEADER + CLASS_BAND) * len(rows) if many else HEADER * len(rows) + pitch * len(done)
    figure, axes = new_axes(NARROW, height + 46, 12, 12, 4, 42)
    grid(axes)
    y = 0.0
    for row in rows:
        header(axes, y + HEADER * 0.6, row.title, f"{gain_text(row.gain)} points")
        y += HEADER
        members, colour = of_class(row, done), class_colour(summary.rows.index(row))
        if many:
            accuracy_boxes(axes, y, CLASS_BAND, members, colour)
        else:
            _dumbbells(axes, y, pitch, members, colour)
        y += CLASS_BAND if many else pitch * len(members)
    axes.set_xlim(_lowest(done), 102)
    axes.set_ylim(max(height, 1), 0)
    axes.set_xlabel("accuracy on the device's own holdout, %")
    return to_svg(figure, "accuracy", "Holdout accuracy of each device before and after personalising")


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
    rows = [row for row in summary.rows if of_class(row, done)]
    height = (LAYER_HEIGHT + LAYER_HEADER) * len(rows)
    figure, axes = new_axes(width, height + 52, 6, 6, 4, 48)
    axes.set(xlim=(0, len(spec.convs)), ylim=(max(height, 1), 0), xticks=[], yticks=[])
    for position, row in enumerate(rows):
        top = position * (LAYER_HEIGHT + LAYER_HEADER)
        layers = f"{row.updated_layers.mean:.1f} layers on average" if row.updated_layers else "no layer"
        header(axes, top + LAYER_HEADER * 0.5, row.title, layers)
        _class_cells(axes, top + LAYER_HEADER, channel_shares(spec, of_class(row, done)))
    _block_names(axes, spec, height)
    axes.set_xlabel("blocks of the backbone, input on the left", labelpad=22)
    return to_svg(figure, f"layers-{width:g}", "Share of the channels of each layer that each device class updated")
