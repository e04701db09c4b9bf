"""Table 2 as two plots: memory and MACs of each method, ours beside the paper's."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import LogLocator

from simulations.reporting.svg import FONT_SIZE, GRID, INK, MUTED, class_colour, new_axes
from simulations.studies.table2 import FORWARD, Figure, Row
from simulations.studies.table2_sections import residual_text, title

WIDTH = 520.0
PITCH, HEADER = 17.0, 24.0
LEFT, RIGHT, TOP, BOTTOM = 112.0, 62.0, 4.0, 44.0
MANY = 200  # times as much: then powers of ten are ticks enough
MEMORY_LABEL = "MiB: ● ours ◇ paper's ▬ alive in the engine, one image to all"
COMPUTE_LABEL = "M MACs of a backward pass and image: ● ours ◇ paper's"


def _mark(axes: Axes, y: float, figure: Figure, colour: str) -> None:
    """Ours with its range, the paper's, and the residual at the right."""
    axes.plot([figure.ours.low, figure.ours.high], [y, y], color=colour, linewidth=2, solid_capstyle="round")
    axes.plot([figure.ours.mean], [y], "o", markersize=6, color=colour, markeredgewidth=0)
    if figure.paper is None:
        return
    axes.plot([float(figure.paper)], [y], "D", markersize=6, markerfacecolor="none", markeredgecolor=INK, mew=1.1)
    place = axes.get_yaxis_transform()
    axes.text(1.02, y, residual_text(figure), transform=place, color=MUTED, fontsize=FONT_SIZE - 2, va="center")


def _name(axes: Axes, y: float, text: str, **style: Any) -> None:
    place = axes.get_yaxis_transform()
    axes.text(-0.02, y, text, transform=place, fontsize=FONT_SIZE - 1, va="center", ha="right", **style)


def _draw(
    rows: Sequence[Row], label: str, of: Callable[[Row], Figure], under: Callable[[Axes, float, Row], None]
) -> Drawing:
    """A row for each method, a group for each backbone, on a log scale."""
    groups = [(backbone, list(group)) for backbone, group in groupby(rows, lambda row: row.backbone)]
    height = HEADER * len(groups) + PITCH * len(rows)
    drawing, axes = new_axes(WIDTH, height + TOP + BOTTOM, LEFT, RIGHT, TOP, BOTTOM)
    axes.set_xscale("log")
    y = 0.0
    for position, (backbone, group) in enumerate(groups):
        _name(axes, y + HEADER * 0.6, backbone, color=INK, fontweight="bold")
        y += HEADER
        for row in group:
            _name(axes, y + PITCH / 2, title(row.method), color=MUTED)
            under(axes, y + PITCH / 2, row)
            _mark(axes, y + PITCH / 2, of(row), class_colour(position))
            y += PITCH
    axes.set(ylim=(height, 0), yticks=[])
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < MANY else (1,)))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(label, loc="right")
    return drawing


def _band(axes: Axes, y: float, row: Row) -> None:
    least, most = row.one_alive_mib.mean, row.all_alive_mib.mean
    axes.plot([least, most], [y, y], color=GRID, linewidth=8, solid_capstyle="butt", zorder=1)


def drawings(rows: Sequence[Row]) -> dict[str, Drawing]:
    """Memory and MACs, by name."""
    updates = [row for row in rows if row.method != FORWARD]
    return {
        "table2-memory": _draw(rows, MEMORY_LABEL, lambda row: row.memory_mib, _band),
        "table2-macs": _draw(updates, COMPUTE_LABEL, lambda row: row.backward_mmacs, lambda *_: None),
    }
