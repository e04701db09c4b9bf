"""Which plots a page has: of every quantity a row for each group, or a line over time where groups are by day."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from html import escape

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from server.fleet.reports.figures import EITHER, NOISY, Figures, FleetFigures, Key, Quantity
from server.fleet.reports.rows import By
from server.fleet.reports.svg import FONT_SIZE, GRID, INK, MUTED, PAPER, VARIABLES, colour, new_axes, to_svg
from server.fleet.reports.table import gain_text, key_name, key_text, share_text
from tinytrain_core.report import Outcome

HEADER, BAND, TIME_HEIGHT = 22.0, 20.0, 170.0  # points, of a group's name, its marks, a plot over time
TOLD = 0.06  # of a bar, from which on a part has its count in it
PERCENT = 100.0
READING = "Dot: mean with its 95 % interval; bar: 10 to 90 % of the devices; stroke: the median."
READING_TIME = "By the day of arrival, UTC; band: the mean's 95 % interval."
_HOLDOUT = "On each device's own holdout, with the adapted backbone, kept or not"


@dataclass(frozen=True)
class Plot:
    """What is drawn of one quantity.

    Attributes:
        scale: from the quantity's unit to the axis's.
        at_zero: whether zero is on the axis.
    """

    what: str
    title: str
    caption: str
    unit: str
    scale: float = PERCENT
    at_zero: bool = True


AFTER = Plot("accuracy_after", "Accuracy", f"{_HOLDOUT}.", "accuracy, %", at_zero=False)
PLOTS = (
    Plot("gain", "What personalising gains", "Accuracy after less accuracy before.", "points of accuracy"),
    AFTER,
    Plot("memory_budget_share", "Memory", "Live memory of the training step over the budget.", "% of the budget"),
    Plot("wall_s", "Time to personalise", "On the device, selection included.", "seconds", 1.0),
    Plot(
        "measured_memory_share",
        "Memory, measured",
        "Measured peak over predicted.",
        "% of the prediction",
        at_zero=False,
    ),
)


OUTCOMES = {  # the colours of outcomes are some of those of classes
    name: colour(n)
    for name, n in {
        EITHER: 5,
        **{outcome.name.lower().replace("_", " "): n for outcome, n in zip(Outcome, (2, 6, 7, 0, 4, 3), strict=True)},
    }.items()
}


def _scaled(quantity: Quantity, plot: Plot) -> tuple[float, float | None]:
    """The mean and half its interval on the axis."""
    return plot.scale * quantity.mean, None if quantity.interval is None else plot.scale * quantity.interval


def _drawn(figures: FleetFigures, plot: Plot) -> Iterator[tuple[Key, Figures, Quantity, bool]]:
    """What is drawn of each group that is shown, with whether it has noise."""
    for key, shown in figures.shown:
        for name in (plot.what, NOISY + plot.what):
            quantity = shown.quantities.get(name)
            if quantity is not None:
                yield key, shown, quantity, name != plot.what


def _note(quantity: Quantity, plot: Plot, noisy: bool) -> str:
    value = f"{quantity.mean:.1f}" if plot.scale != PERCENT else share_text(quantity)
    noise = ", with noise" if noisy else ""
    return f"{gain_text(quantity) if plot.what == 'gain' else value}, {quantity.devices} devices{noise}"


def _palette(figures: FleetFigures) -> dict[int | str, int]:
    """A number for the colour of each class; of each group where classes are not told apart."""
    place = figures.by.index(By.CLASS) if By.CLASS in figures.by else 0
    return {part: n for n, part in enumerate(sorted({key[place] for key, _ in figures.shown}, key=str))}


def _named(axes: Axes, row: int, name: str, note: str) -> float:
    """Where the marks of a group are, whose name and note are above them."""
    place, y = axes.get_yaxis_transform(), (HEADER + BAND) * row + HEADER * 0.6
    behind = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
    axes.text(0, y, name, bbox=behind, transform=place, color=INK, fontsize=FONT_SIZE, fontweight="bold", va="center")
    axes.text(1, y, note, bbox=behind, transform=place, color=MUTED, fontsize=FONT_SIZE - 1, ha="right", va="center")
    return (HEADER + BAND) * row + HEADER + BAND / 2


def _keep_limits(axes: Axes) -> None:
    """What is drawn from now on, figures with noise, does not stretch the axes."""
    axes.autoscale_view()
    axes.autoscale(False)


def _marks(axes: Axes, y: float, shade: str, plot: Plot, shown: Figures, quantity: Quantity, noisy: bool) -> None:
    mean, interval = _scaled(quantity, plot)
    before = shown.quantities["accuracy_before"]
    if plot is AFTER and before is not None and not noisy:
        axes.plot([PERCENT * before.mean, mean], [y, y], color=shade, lw=2, alpha=0.45)
        axes.plot([PERCENT * before.mean], [y], "o", ms=7, mfc=PAPER, mec=shade, mew=1.5)
    elif quantity.quantiles:
        low, middle, high = (plot.scale * value for value in quantity.quantiles)
        axes.barh(y, high - low, 11, left=low, color=shade, alpha=0.18, lw=0)
        axes.plot([middle, middle], [y - 8, y + 8], color=shade, lw=2, alpha=0.55)
    axes.errorbar(mean, y, xerr=interval, fmt="o", color=shade, ms=7.5, mew=0, elinewidth=2.5)


def _rows_plot(figures: FleetFigures, plot: Plot) -> str:
    rows = list(_drawn(figures, plot))
    if not rows:
        return ""
    place, height = figures.by.index(By.CLASS) if By.CLASS in figures.by else 0, (HEADER + BAND) * len(rows)
    figure, axes = new_axes(height, 14, 40)
    if plot.at_zero:
        axes.axvline(0, color=MUTED, lw=1)
    telling = any(not noisy for *_, noisy in rows)
    for row, (key, shown, quantity, noisy) in sorted(enumerate(rows), key=lambda numbered: numbered[1][-1]):
        if noisy and telling:
            _keep_limits(axes)
        y = _named(axes, row, key_text(figures, key), _note(quantity, plot, noisy))
        _marks(axes, y, colour(_palette(figures)[key[place]]), plot, shown, quantity, noisy)
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set(yticks=[], ylim=(height, 0), xlabel=plot.unit)
    return to_svg(figure, plot.title)


Point = tuple[str, float, float | None, bool]  # the day, the value, half its interval, whether there is noise in it


def _without_day(figures: FleetFigures, key: Key) -> str:
    parts = [key_name(by, part) for by, part in zip(figures.by, key, strict=True) if by is not By.DAY]
    return ", ".join(parts) or "all devices"


def _lines_over_time(figures: FleetFigures, points: Iterable[tuple[Key, Point]], label: str, at_zero: bool) -> str:
    """The legend and the plot of the points of several groups, empty where there are none."""
    names = {name: n for n, name in enumerate(sorted({_without_day(figures, key) for key, _ in figures.shown}))}
    found: dict[tuple[str, bool], list[Point]] = {}
    for key, point in points:
        found.setdefault((_without_day(figures, key), point[-1]), []).append(point)
    if not found:
        return ""
    figure, axes = new_axes(TIME_HEIGHT, 44, 26)
    if at_zero:
        axes.axhline(0, color=MUTED, lw=1)
    telling = any(not noisy for _, noisy in found)
    for (name, noisy), of in sorted(found.items(), key=lambda one: (one[0][1], one[0][0])):
        if noisy and telling:
            _keep_limits(axes)
        _line(axes, colour(names[name]), sorted(of), with_band=not (noisy and telling))
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda day, _: date.fromordinal(round(day)).strftime("%d %b")))
    days = [date.fromisoformat(day).toordinal() for of in found.values() for day, *_ in of]
    axes.set_xlim(min(days) - 0.5, max(days) + 0.5)
    return legend({name: colour(names[name]) for name in sorted({name for name, _ in found})}) + to_svg(figure, label)


def _line(axes: Axes, shade: str, points: Iterable[Point], with_band: bool) -> None:
    """A line with a dot for each day, and a band around it; without, it is thin."""
    placed = [(date.fromisoformat(day).toordinal(), value, half or 0) for day, value, half, _ in points]
    days, values, halves = zip(*placed, strict=True)
    low, high = ([v + sign * half for v, half in zip(values, halves, strict=True)] for sign in (-1, 1))
    if with_band:
        axes.fill_between(days, low, high, color=shade, alpha=0.14, lw=0)
    axes.plot(days, values, "o-", color=shade, lw=2 if with_band else 0.8, ms=4.5, mew=0)


def _over_time(figures: FleetFigures, plot: Plot) -> str:
    place = figures.by.index(By.DAY)
    points = (
        (key, (str(key[place]), *_scaled(quantity, plot), noisy)) for key, _, quantity, noisy in _drawn(figures, plot)
    )
    return _lines_over_time(figures, points, f"{plot.title} by day, {plot.unit}", plot.at_zero)


def legend(colours: Mapping[str, str]) -> str:
    """What each colour, a placeholder, means."""
    dots = [f'<span><i style="--fill:var(--{VARIABLES[c]})"></i>{escape(name)}</span>' for name, c in colours.items()]
    return f'<div class="key">{"".join(dots)}</div>'


def _outcomes(figures: FleetFigures) -> str:
    height = (HEADER + BAND) * len(figures.shown)
    figure, axes = new_axes(height, 14, 2)
    for row, (key, shown) in enumerate(figures.shown):
        y = _named(axes, row, key_text(figures, key), f"{shown.failed_share:.0%} failed, {shown.devices} devices")
        left = 0.0
        for name, count in shown.outcomes.items():
            width = count / shown.devices
            axes.barh(y, width, 15, left=left, color=OUTCOMES[name], edgecolor=PAPER, lw=1)
            if width >= TOLD:
                axes.text(left + width / 2, y, f"{count}", color=PAPER, fontsize=9, ha="center", va="center_baseline")
            left += width
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(height, 0))
    there = {name for _, shown in figures.shown for name in shown.outcomes}
    return legend({name: shade for name, shade in OUTCOMES.items() if name in there}) + to_svg(
        figure, "Outcomes of each group"
    )


def _failures_over_time(figures: FleetFigures) -> str:
    place = figures.by.index(By.DAY)
    points = ((key, (str(key[place]), PERCENT * shown.failed_share, None, False)) for key, shown in figures.shown)
    return _lines_over_time(figures, points, "Share of the devices that failed by day, %", True)


def plots(figures: FleetFigures) -> Iterator[tuple[str, str, str]]:
    """Title, caption and drawing of each plot for which there are figures; nothing where no group is shown."""
    if not figures.shown:
        return
    over_time = By.DAY in figures.by
    for plot in PLOTS:
        drawn = _over_time(figures, plot) if over_time else _rows_plot(figures, plot)
        reading = f"{plot.unit[0].upper()}{plot.unit[1:]}. {READING_TIME}" if over_time else READING
        hollow = "Hollow: with the base backbone. Dot: mean with its 95 % interval."
        yield plot.title, f"{plot.caption} {hollow if plot is AFTER and not over_time else reading}", drawn
    if over_time:
        yield "Failures", f"% of the devices. {READING_TIME.partition(';')[0]}.", _failures_over_time(figures)
    else:
        yield "What became of them", "Devices by outcome.", _outcomes(figures)
