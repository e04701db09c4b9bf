"""Plots of lines: validation accuracy by learning rate, and accuracy by memory."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes

from simulations.reporting.svg import FONT_SIZE, INK, MUTED, class_colour, to_svg
from simulations.studies.arms import Arm, Training
from simulations.studies.axes import FOOT, HEAD, LETTER, WIDTH, add_axes, new_figure
from simulations.studies.cell import Cell
from simulations.studies.findings import Findings, arm_title
from simulations.studies.rates import Sweep

HEIGHT = 190.0
LEGEND = 20.0  # the height of a line of it
LEFT = 40.0
LABEL = 16.0
BLOCK = HEAD + HEIGHT + FOOT + LABEL  # of a panel


@dataclass(frozen=True)
class Line:
    """A line through points, in per cent.

    Attributes:
        halves: of the points' intervals; empty where they have none.
        marked: the x of the point that has a ring.
    """

    name: str
    colour: str
    xs: Sequence[float]
    ys: Sequence[float]
    halves: Sequence[float] = ()
    marked: float | None = None
    style: str = "-"


@dataclass(frozen=True)
class Panel:
    """Lines under a title."""

    title: str
    lines: Sequence[Line] = field(default_factory=list)


def _draw(axes: Axes, line: Line) -> None:
    axes.plot(line.xs, line.ys, line.style, color=line.colour, linewidth=1.8, marker="o", markersize=4)
    if line.halves:
        axes.errorbar(line.xs, line.ys, line.halves, fmt="none", ecolor=line.colour, capsize=2.5)
    ring = [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if x == line.marked]
    for x, y in ring:
        axes.plot(
            [x], [y], "o", markersize=10, markerfacecolor="none", markeredgecolor=line.colour, markeredgewidth=1.6
        )


def _set_scale(axes: Axes, ticks: Sequence[float]) -> None:
    """Logarithmic where there are ticks."""
    if ticks:
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()


def lines_figure(panels: Sequence[Panel], x_label: str, name: str, label: str, ticks: Sequence[float] = ()) -> str:
    """Panels with one legend; over a logarithmic axis where there are `ticks`."""
    lines: Mapping[str, Line] = {line.name: line for panel in panels for line in panel.lines}
    columns = max(1, int(WIDTH // (LETTER * max(map(len, lines)) + 50)))
    legend = LEGEND * math.ceil(len(lines) / columns)
    figure = new_figure(legend + BLOCK * len(panels))
    for position, panel in enumerate(panels):
        axes = add_axes(figure, LEFT, legend + HEAD + BLOCK * position, WIDTH - LEFT - 8, HEIGHT, panel.title)
        _set_scale(axes, ticks)
        for line in panel.lines:
            _draw(axes, line)
        axes.set_xlabel(x_label, color=MUTED, fontsize=FONT_SIZE - 1)
    handles = [axes.plot([], [], line.style, color=line.colour, linewidth=1.8)[0] for line in lines.values()]
    style = {"frameon": False, "labelcolor": INK, "fontsize": FONT_SIZE - 1, "borderpad": 0}
    figure.legend(handles, list(lines), loc="upper left", ncols=columns, **style)
    return to_svg(figure, name, label)


def _sweep_line(found: Sweep, title: str, arms: Sequence[str]) -> Line:
    """A colour for each arm; dashed on a plain backbone."""
    style = "--" if found.arm.training is Training.PLAIN else "-"
    ys = [100 * accuracy for accuracy in found.accuracies.values()]
    colour = class_colour(arms.index(found.arm.name))
    return Line(title, colour, list(found.accuracies), ys, marked=found.chosen, style=style)


def sweep_figure(findings: Findings, backbone: str) -> str:
    """Validation accuracy by learning rate, a panel for each data set that the rates are chosen for."""
    sweeps = [found for found in findings.sweeps if found.backbone == backbone]
    arms = list(dict.fromkeys(found.arm.name for found in sweeps))

    def title(arm: Arm) -> str:
        return arm_title(arm, findings.settings)

    panels = [
        Panel(
            f"{backbone} for {data}, on {', '.join(findings.settings.validation_labels(data))}, %",
            [_sweep_line(found, title(found.arm), arms) for found in sweeps if found.data == data],
        )
        for data in findings.settings.data
    ]
    label = f"Validation accuracy by learning rate on {backbone}"
    return lines_figure(panels, "learning rate", f"sweep {backbone}", label, findings.settings.rates)


def _memory_line(name: str, colour: str, cells: Sequence[Cell]) -> Line:
    halves = [100 * c.accuracy_interval for c in cells if c.accuracy_interval is not None]
    xs, ys = [c.paper_memory_mib for c in cells], [100 * c.accuracy for c in cells]
    return Line(name, colour, xs, ys, halves if len(halves) == len(cells) else ())


def memory_figure(family: str, backbone: str, cells: Sequence[Cell]) -> str:
    """Accuracy by what the updates take in the paper's ledger, a line for each arm."""
    names = list(dict.fromkeys(cell.name for cell in cells))
    panels = []
    for data in dict.fromkeys(cell.data for cell in cells):
        of = {name: [cell for cell in cells if (cell.data, cell.name) == (data, name)] for name in names}
        lines = [_memory_line(name, class_colour(i), of[name]) for i, name in enumerate(names)]
        panels.append(Panel(f"{backbone}, {data}: accuracy, %", lines))
    return lines_figure(panels, "MiB, paper's", f"memory {family} {backbone}", f"Accuracy by memory on {backbone}")
