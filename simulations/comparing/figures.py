"""The plots of a comparison: a dot with its interval for each run and class, and how gains are distributed."""

from collections.abc import Callable, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from simulations.comparing.compared import Compared
from simulations.reporting.bands import HEADER, NARROW
from simulations.reporting.summary import WHOLE_FLEET, ClassRow
from simulations.reporting.svg import FONT_SIZE, GRID, INK, MUTED, PAPER, class_colour, new_axes, to_svg
from simulations.reporting.units import accuracy_text, gain_text, shown_interval
from simulations.results.happened import Spread
from tinytrain_core.statistics import Mean

PITCH = 17.0  # points, of two runs
LETTER = 6.0  # a character's width, about
FIGURES = 78.0  # the width of a mean and its interval
ECDF_HEIGHT = 230.0
LEGEND = 18.0  # the height of a line of it
Pick = Callable[[ClassRow], Mean | None]
Bounds = tuple[float, float]
EDGE = 2.0  # beyond what is possible, for a whole dot
QUANTITIES: dict[str, tuple[Pick, Callable[[Mean | None], str], str, Bounds]] = {
    "gain": (lambda row: row.gain, gain_text, "gain, points of accuracy", (-100.0, 100.0)),
    "accuracy after": (lambda row: row.after, accuracy_text, "accuracy after, %", (0.0, 100.0)),
}


def _literal(name: str) -> str:
    """A name as it is, where dollars would begin a formula."""
    return name.replace("$", r"\$")


def rows_by_class(compared: Sequence[Compared]) -> dict[str, list[ClassRow | None]]:
    """Each class's row of each run, the whole fleet first; None where a run has no device of the class."""
    by_run = [{row.profile: row for row in one.account.summary.rows} for one in compared]
    titles = {profile: row.title for rows in by_run for profile, row in rows.items()}
    found: dict[str, list[ClassRow | None]] = {WHOLE_FLEET: [one.account.summary.fleet for one in compared]}
    for profile in sorted(titles):
        found[titles[profile]] = [rows.get(profile) for rows in by_run]
    return found


def _dot(axes: Axes, y: float, mean: Mean, bounds: Bounds, colour: str, text: str) -> None:
    middle, half = 100 * mean.mean, 100 * (shown_interval(mean) or 0)
    ends = [max(middle - half, bounds[0]), min(middle + half, bounds[1])]
    axes.plot(ends, [y, y], color=colour, linewidth=2.2, solid_capstyle="round")
    axes.plot([middle], [y], "o", markersize=7, color=colour, markeredgecolor=PAPER, markeredgewidth=1)
    place = axes.get_yaxis_transform()
    axes.text(1.03, y, text, transform=place, color=INK, fontsize=FONT_SIZE - 1, va="center", clip_on=False)


def dots_figure(compared: Sequence[Compared], quantity: str) -> str:
    """A quantity's mean with its 95 % interval, for each class a row of each run."""
    pick, text, label, bounds = QUANTITIES[quantity]
    by_class = rows_by_class(compared)
    block = HEADER + PITCH * len(compared)
    tops = [block * position + HEADER for position in range(len(by_class))]
    left = LETTER * max(len(one.name) for one in compared) + 18
    figure, axes = new_axes(NARROW, block * len(by_class) + 44, left, FIGURES, 2, 42)
    for top, (title, rows) in zip(tops, by_class.items(), strict=True):
        _heading(axes, top - HEADER * 0.4, title, left)
        for run, row in enumerate(rows):
            mean = pick(row) if row else None
            if mean is not None:
                _dot(axes, top + PITCH * (run + 0.5), mean, bounds, class_colour(run), text(mean))
    places = [top + PITCH * (run + 0.5) for top in tops for run in range(len(compared))]
    axes.set_yticks(places, [_literal(one.name) for _ in by_class for one in compared])
    axes.tick_params(axis="y", pad=8)
    if quantity == "gain":
        axes.axvline(0, color=MUTED, linewidth=1)
    axes.margins(x=0.06)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, bounds[0] - EDGE), min(high, bounds[1] + EDGE))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_ylim(block * len(by_class), 0)
    _finish(axes, "x", label)
    return to_svg(figure, f"dots {quantity}", f"{quantity} of each run and device class")


def _heading(axes: Axes, y: float, title: str, left: float) -> None:
    """A class's name, flush with the left edge of the figure."""
    place = axes.get_yaxis_transform()
    start = -left / (NARROW - left - FIGURES)
    behind = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
    axes.text(
        start, y, title, bbox=behind, transform=place, color=INK, fontsize=FONT_SIZE, fontweight="bold", va="center"
    )


def _finish(axes: Axes, which: Literal["x", "both"], label: str) -> None:
    axes.grid(axis=which, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(label)


def gains_figure(compared: Sequence[Compared]) -> str:
    """The share of each run's devices that gain at most so much."""
    figure, axes = new_axes(NARROW, ECDF_HEIGHT + LEGEND * len(compared) + 46, 36, 14, LEGEND * len(compared) + 4, 42)
    for position, one in enumerate(compared):
        gains = Spread.of([100 * (r.accuracy_after - r.accuracy_before) for r in one.by_device.values()])
        if gains is None:
            continue
        points, shares = gains.steps(gains.curve[0], gains.greatest)
        per_cent = [100 * share for share in shares]
        axes.step(points, per_cent, where="post", color=class_colour(position), linewidth=2, label=_literal(one.name))
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_ylim(0, 102)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    _finish(axes, "both", "gain, points of accuracy: so many per cent of the devices gain at most that")
    if axes.lines[1:]:  # beside the line at 0
        figure.legend(loc="upper left", frameon=False, labelcolor=INK, fontsize=FONT_SIZE - 1, borderpad=0)
    return to_svg(figure, "gains", "How the gains of each run's devices are distributed")
