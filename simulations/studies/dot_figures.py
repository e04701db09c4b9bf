"""The plots of a comparison: accuracies of its arms, and their paired differences to the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simulations.reporting.svg import ACCENT, CLASS_COLOURS, FONT_SIZE, INK, MUTED, PAPER, to_svg
from simulations.studies.axes import FOOT, HEAD, LETTER, WIDTH, add_axes, new_figure
from simulations.studies.cell import Cell
from simulations.studies.comparisons import Comparison
from simulations.studies.text import points
from tinytrain_core.statistics import Mean

PITCH = 21.0  # of two arms
FIGURES = 84.0  # the width of a mean and its interval in figures
TICKS = 6


@dataclass(frozen=True)
class Dot:
    """A mean with its interval, as shares; hollow where it is not `full`."""

    value: float | None
    interval: float | None
    full: bool = True
    sign: str = ""


def _draw_dot(axes: Axes, y: int, dot: Dot, colour: str) -> None:
    if dot.value is None:
        return
    mean, half = 100 * dot.value, 100 * (dot.interval or 0)
    axes.plot([mean - half, mean + half], [y, y], color=colour, linewidth=2, solid_capstyle="round")
    face = colour if dot.full else PAPER
    axes.plot([mean], [y], "o", markersize=7, color=face, markeredgecolor=colour, markeredgewidth=1.6)
    text, place = points(dot.value, dot.interval, dot.sign), axes.get_yaxis_transform()
    axes.text(1.02, y, text, transform=place, color=INK, fontsize=FONT_SIZE - 1, va="center", clip_on=False)


def _colour(cell: Cell, comparison: Comparison) -> str:
    """The reference is in ink, TinyTrain's variants in the accent."""
    if cell.name == comparison.reference:
        return INK
    return ACCENT if comparison.arms[cell.name].is_tinytrain else CLASS_COLOURS[0]


def _draw_cells(axes: Axes, comparison: Comparison, cells: Sequence[Cell], dot: Callable[[Cell], Dot]) -> None:
    for y, cell in enumerate(cells):
        _draw_dot(axes, y, dot(cell), _colour(cell, comparison))
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(TICKS, steps=[1, 2, 5, 10]))
    axes.set_yticks(range(len(cells)), [cell.name for cell in cells])
    axes.tick_params(axis="y", labelcolor=INK, pad=8)
    axes.grid(visible=False, axis="y")


def _strips(comparison: Comparison, cells: Sequence[Cell], dot: Callable[[Cell], Dot], title: str) -> Figure:
    """Axes for each data set, with a dot for each arm."""
    sets = list(dict.fromkeys(cell.data for cell in cells))
    left, height = LETTER * max(map(len, comparison.arms)) + 16, PITCH * len(comparison.arms)
    strip = HEAD + height + FOOT
    figure = new_figure(strip * len(sets))
    for position, data in enumerate(sets):
        place = (left, strip * position + HEAD, WIDTH - left - FIGURES, height)
        axes = add_axes(figure, *place, title.format(data))
        _draw_cells(axes, comparison, [cell for cell in cells if cell.data == data], dot)
    return figure


def accuracies_figure(comparison: Comparison, backbone: str, cells: Sequence[Cell]) -> str:
    """The accuracy of every arm on each data set."""
    title = f"{backbone}, {{}}: accuracy, %"
    figure = _strips(comparison, cells, lambda cell: Dot(cell.accuracy, cell.accuracy_interval), title)
    return to_svg(figure, f"accuracy {comparison.name} {backbone}", f"{comparison.title}: accuracy, {backbone}")


def _difference(cell: Cell) -> Dot:
    found = Mean(cell.difference or 0.0, cell.difference_interval, cell.tasks)
    return Dot(cell.difference, cell.difference_interval, found.excludes_zero, "+")


def differences_figure(comparison: Comparison, backbone: str, cells: Sequence[Cell]) -> str:
    """The paired difference of every arm to the reference on each data set; hollow where its interval includes 0."""
    title = f"{backbone}, {{}}: against {comparison.reference}, points"
    figure = _strips(comparison, cells, _difference, title)
    for axes in figure.axes:
        axes.axvline(0, color=MUTED, linewidth=1)
    name = f"difference {comparison.name} {comparison.reference} {backbone}"
    return to_svg(figure, name, f"{comparison.title}: against {comparison.reference}, {backbone}")
