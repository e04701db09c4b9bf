"""What plots with a band for each device class have in common."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from simulations.reporting.summary import ClassRow
from simulations.reporting.svg import FONT_SIZE, GRID, INK, MUTED
from tinytrain_core.report import PersonalisationReport

NARROW = 480.0  # points, of a plot's width
HEADER = 26.0  # the height of a class's name
CLASS_BAND = 30.0  # and of what is drawn of it


def of_class(row: ClassRow, reports: Sequence[PersonalisationReport]) -> list[PersonalisationReport]:
    """The reports of the row's class."""
    return [report for report in reports if report.profile == row.profile]


def grid(axes: Axes) -> None:
    """Lines for the figures along the foot, and nothing along the side."""
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_yticks([])


def header(axes: Axes, y: float, title: str, note: str) -> None:
    """A class's name and figure above its rows, `y` in data coordinates."""
    place = axes.get_yaxis_transform()
    axes.text(0, y, title, transform=place, color=INK, fontsize=FONT_SIZE, fontweight="bold", va="center")
    axes.text(1, y, note, transform=place, color=MUTED, fontsize=FONT_SIZE - 1, ha="right", va="center")
