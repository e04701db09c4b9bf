"""Figure 1 as two plots of a device: minutes and kilojoules of each method, in a group for each backbone."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from simulations.reporting.svg import FONT_SIZE, GRID, INK, MUTED, PAPER, class_colour, new_axes
from simulations.studies import published
from simulations.studies.figure1 import Row

WIDTH, HEIGHT = 520.0, 330.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 8.0, 62.0, 26.0
BAR = 0.8
GAP = 1.2  # bars between two groups
BARS = "bars: the fitted model"
DOT: dict[str, Any] = {"marker": "o", "markersize": 5.5, "color": INK, "markeredgecolor": PAPER, "zorder": 4}
DIAMOND: dict[str, Any] = {"marker": "D", "markersize": 6.5, "color": PAPER, "markeredgecolor": INK, "mew": 1.2}
CROSS: dict[str, Any] = {"marker": "x", "markersize": 6.0, "markeredgewidth": 1.6}
LEGEND: dict[str, Any] = {
    "loc": "lower left",
    "frameon": False,
    "fontsize": FONT_SIZE - 2,
    "labelcolor": MUTED,
    "borderpad": 0,
    "handletextpad": 0.6,
}
Value = Callable[[Row], float | None]


def _digitised(name: str) -> Value:
    return lambda row: None if row.digitised is None else float(getattr(row.digitised, name))


def _limits(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value for value in values if value]
    return min(known) / 3, max(known) * 1.6


def _column(axes: Axes, x: float, values: Sequence[float | None], colour: str) -> None:
    """A bar for the model, a dot for the engine, a diamond for the paper; a cross is what does not fit."""
    model, own, paper = values
    bottom, _ = axes.get_ylim()
    if model is not None:
        axes.bar(x, model - bottom, BAR, bottom, color=colour, linewidth=0)
    if own is not None:
        axes.plot([x], [own], linestyle="none", **DOT)
    if paper is not None:
        axes.plot([x], [paper], linestyle="none", **DIAMOND)
    if model is None and own is None:
        axes.plot([x], [bottom * 1.2], linestyle="none", color=colour, **CROSS)


def _key(text: str, **style: Any) -> Line2D:
    return Line2D([], [], linestyle="none", label=text, **style)


def _legend(axes: Axes, rows: Sequence[Row], methods: Sequence[str]) -> None:
    """The methods' colours in one line, what the marks are in the next."""
    named = [(class_colour(position), published.title(method)) for position, method in enumerate(methods)]
    bars = [Line2D([], [], color=colour, linewidth=7, label=text) for colour, text in named]
    marks = [_key("this engine", **DOT)]
    if any(row.digitised for row in rows):
        marks.append(_key("the paper's figure", **DIAMOND))
    if any(row.model is None and row.own.cost is None for row in rows):
        marks.append(_key("does not fit", color=MUTED, **CROSS))
    axes.add_artist(axes.legend(handles=bars, ncols=len(bars), bbox_to_anchor=(0, 1.1), handlelength=0.8, **LEGEND))
    axes.legend(handles=marks, ncols=len(marks), bbox_to_anchor=(0, 1.01), handlelength=1.0, **LEGEND)


def _style(axes: Axes, label: str, middles: dict[str, float]) -> None:
    axes.set_xticks(list(middles.values()), list(middles), color=INK)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_ylabel(label, color=MUTED, fontsize=FONT_SIZE - 1)


def _draw(rows: Sequence[Row], label: str, *values: Value) -> Drawing:
    """The values of the model, of the engine and of the paper."""
    drawing, axes = new_axes(WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM)
    methods = list(dict.fromkeys(row.method for row in rows))
    axes.set_yscale("log")
    axes.set_ylim(_limits([value(row) for value in values for row in rows]))
    x, middles = 0.0, {}
    for backbone, group in groupby(rows, lambda row: row.backbone):
        members = list(group)
        middles[backbone] = x + (len(members) - 1) / 2
        for row in members:
            _column(axes, x, [value(row) for value in values], class_colour(methods.index(row.method)))
            x += 1
        x += GAP
    _style(axes, f"{label}; {BARS}", middles)
    _legend(axes, rows, methods)
    return drawing


def drawings(rows: Sequence[Row]) -> dict[str, Drawing]:
    """Time and energy on one device, by name; none where nothing fits it."""
    if all(row.model is None and row.own.cost is None for row in rows):
        return {}
    times = _draw(rows, "minutes", lambda r: r.minutes, lambda r: r.own.minutes, _digitised("minutes"))
    energies = _draw(rows, "kJ", lambda r: r.kilojoules, lambda r: r.own.kilojoules, _digitised("kilojoules"))
    return {f"figure1-{rows[0].device}-time": times, f"figure1-{rows[0].device}-energy": energies}
