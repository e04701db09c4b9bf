"""The plots of what happened in a fleet: time to complete, and why there was no result; each a few shapes a class."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from simulations.reporting.bands import NARROW
from simulations.reporting.svg import FONT_SIZE, GRID, INK, MUTED, class_colour, new_axes, to_svg
from simulations.reporting.units import seconds_text
from simulations.results.happened import Happened, Spread

TIME_HEIGHT = 210.0
CAUSE_PITCH = 40.0
SHOWN_CAUSES = 10  # the most frequent
TICKS_S = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400)
Palette = Mapping[str, int]  # the position of a class's colour, by its name in the catalogue


def _curve(axes: Axes, spread: Spread, tries: int, ends: tuple[float, float], colour: str) -> None:
    """The share of a class's tries that were done by then, from the first class to the last; the rest never were."""
    times, shares = spread.steps(*ends)
    done = [100 * share * spread.count / tries for share in shares]
    axes.step([max(at_s, TICKS_S[0]) for at_s in times], done, where="post", color=colour, linewidth=2)


def _time_ticks(axes: Axes) -> None:
    left, right = axes.get_xlim()
    inside = [tick for tick in TICKS_S if left <= tick <= right]
    if len(inside) < 2:
        inside = [left * (right / left) ** (step / 2) for step in range(3)]
    axes.set_xticks(inside, [seconds_text(tick).replace(".0", "") for tick in inside])
    axes.minorticks_off()


def time_figure(rows: Sequence[Happened], palette: Palette) -> str:
    """By when each class was done: an empirical distribution over a logarithmic time axis, per cent of its tries."""
    figure, axes = new_axes(NARROW, TIME_HEIGHT + 50, 36, 14, 6, 44)
    axes.set_xscale("log")
    spreads = [row.time_s for row in rows if row.time_s]
    ends = (min((s.curve[0] for s in spreads), default=0.0), max((s.greatest for s in spreads), default=0.0))
    for row in rows:
        if row.time_s:
            _curve(axes, row.time_s, row.tries, ends, class_colour(palette[row.name]))
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_ylim(0, 103)
    _time_ticks(axes)
    axes.set_xlabel("virtual time from request to report, log scale")
    return to_svg(figure, "time", "Share of each class's devices that were done by a time")


def causes_figure(classes: Sequence[Happened], whole: Happened, palette: Palette) -> str:
    """Why there was no result: a bar for each cause, of a part for each class."""
    causes = list(whole.causes)[:SHOWN_CAUSES]
    height = CAUSE_PITCH * len(causes)
    figure, axes = new_axes(NARROW, height + 42, 12, 14, 2, 38)
    place = axes.get_yaxis_transform()
    for position, cause in enumerate(causes):
        y, left = CAUSE_PITCH * position, 0
        note = f"{whole.causes[cause]:,}".replace(",", " ")
        axes.text(0, y + 10, cause_text(cause), transform=place, color=INK, fontsize=FONT_SIZE, va="center")
        axes.text(1, y + 10, note, transform=place, color=MUTED, fontsize=FONT_SIZE - 1, ha="right", va="center")
        for row in classes:
            count = row.causes.get(cause, 0)
            axes.barh(y + 26, count, 12, left=left, color=class_colour(palette[row.name]), linewidth=0)
            left += count
    axes.set(yticks=[], ylim=(max(height, 1), 0))
    axes.set_xlim(0, max(whole.causes.values(), default=1) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("devices without a result" + ("" if whole.tries == whole.devices else ", of all rounds"))
    return to_svg(figure, "causes", "Devices without a result, by cause")


def cause_text(cause: str) -> str:
    """A cause as people read it."""
    return cause.replace("_", " ")
