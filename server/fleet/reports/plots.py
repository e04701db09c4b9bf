"""Which plots a page has: of every quantity a row for each group, or a line over time where groups are by day."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from html import escape

from server.fleet.reports.figures import NOISY, By, Figures, FleetFigures, Key, Quantity
from server.fleet.reports.svg import Line, Series, bars_plot, colour, interval_plot, time_plot
from server.fleet.reports.table import gain_text, key_name, key_text, share_text
from tinytrain_core.report import Outcome

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


def _line(figures: FleetFigures, key: Key, shown: Figures, quantity: Quantity, noisy: bool, plot: Plot) -> Line:
    place = figures.by.index(By.CLASS) if By.CLASS in figures.by else 0
    mean, interval = _scaled(quantity, plot)
    before = shown.quantities["accuracy_before"] if plot is AFTER and not noisy else None
    return Line(
        name=key_text(figures, key),
        note=_note(quantity, plot, noisy),
        mean=mean,
        interval=interval,
        quantiles=[] if plot is AFTER else [plot.scale * value for value in quantity.quantiles or ()],
        position=_palette(figures)[key[place]],
        before=None if before is None else PERCENT * before.mean,
        noisy=noisy,
    )


def _rows_plot(figures: FleetFigures, plot: Plot) -> str:
    lines = [_line(figures, *drawn, plot) for drawn in _drawn(figures, plot)]
    return interval_plot(lines, plot.title, plot.unit, plot.at_zero) if lines else ""


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
    series = [
        Series(
            names[name],
            [(date.fromisoformat(day).toordinal(), value, half) for day, value, half, _ in sorted(of)],
            noisy,
        )
        for (name, noisy), of in sorted(found.items())
    ]
    return legend({name: colour(names[name]) for name, _ in sorted(found)}) + time_plot(series, label, at_zero)


def _over_time(figures: FleetFigures, plot: Plot) -> str:
    place = figures.by.index(By.DAY)
    points = (
        (key, (str(key[place]), *_scaled(quantity, plot), noisy)) for key, _, quantity, noisy in _drawn(figures, plot)
    )
    return _lines_over_time(figures, points, f"{plot.title} by day, {plot.unit}", plot.at_zero)


def legend(colours: Mapping[str, str]) -> str:
    """What each colour means."""
    dots = [f'<span><i style="--fill:{shade}"></i>{escape(name)}</span>' for name, shade in colours.items()]
    return f'<div class="key">{"".join(dots)}</div>'


def _kind(outcome: str) -> str:
    return f"var(--{outcome.replace(' ', '-')})"


def _outcomes(figures: FleetFigures) -> str:
    rows = [
        (key_text(figures, key), f"{shown.failed_share:.0%} failed, {shown.devices} devices", shown.outcomes)
        for key, shown in figures.shown
    ]
    known = [outcome.name.lower().replace("_", " ") for outcome in Outcome]
    there = [name for name in known if any(name in shown.outcomes for _, shown in figures.shown)]
    return legend({name: _kind(name) for name in there}) + bars_plot(rows, "Outcomes of each group", _kind)


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
