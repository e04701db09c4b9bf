"""Axes of the plots of a study, one below the other, placed in points from the top of their figure."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulations.reporting.svg import FONT_SIZE, GRID, INK, MUTED, POINTS_PER_INCH

WIDTH = 520.0
HEAD, FOOT = 40.0, 28.0  # of axes: their title above, their numbers below
LETTER = 6.3  # a character's width, about


def new_figure(height: float) -> Figure:
    """A figure of `WIDTH` x `height` points."""
    return Figure(figsize=(WIDTH / POINTS_PER_INCH, height / POINTS_PER_INCH))


def add_axes(figure: Figure, left: float, top: float, width: float, height: float, title: str) -> Axes:
    """Axes without a frame, with a title above them."""
    full_width, full_height = (POINTS_PER_INCH * inches for inches in figure.get_size_inches())
    bottom = full_height - top - height
    axes = figure.add_axes((left / full_width, bottom / full_height, width / full_width, height / full_height))
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=FONT_SIZE - 1, colors=MUTED)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=FONT_SIZE, color=INK, fontweight="bold", pad=7)
    return axes
