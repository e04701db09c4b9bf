"""Plots of figures as SVG elements that take their colours from the page's style sheet.

Everything is drawn in user units, which the page scales to its width. Text stays text.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

WIDTH = 480.0
MARGIN = 14.0  # left and right of a plot without an axis there
HEADER, BAND, AXIS = 24.0, 22.0, 40.0  # of a group's name, its marks, and the axis below all of them
COLOURS = 8  # that the style sheet has for classes
TIME_HEIGHT, TIME_LEFT = 200.0, 46.0
SMALLEST = 1e-6  # span of an axis


def colour(position: int) -> str:
    """The colour of the group at `position`."""
    return f"var(--class-{position % COLOURS})"


@dataclass(frozen=True)
class Line:
    """A mean and half its interval, with three quantiles, or without.

    Attributes:
        before: drawn hollow, where there is one.
        noisy: it does not stretch the axis, on which as much is drawn as there is room for.
    """

    name: str
    note: str
    mean: float
    interval: float | None
    quantiles: Sequence[float] | None
    position: int
    before: float | None = None
    noisy: bool = False

    @property
    def reach(self) -> list[float]:
        """Every value that is drawn."""
        around = [self.mean - (self.interval or 0), self.mean + (self.interval or 0), *(self.quantiles or ())]
        return around if self.before is None else [*around, self.before]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values that cover [low, high] and a little more: the first is not above low, the last not below high."""
    if high - low < SMALLEST:
        low, high = low - 1, high + 1
    raw = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, max(last, first + 1) + 1)]


def number(value: float) -> str:
    """A tick's label, with a true minus."""
    return f"{value:,.10g}".replace("-", "−")


def text(x: float, y: float, content: str, kind: str = "muted", anchor: str = "start") -> str:
    """Some text with its baseline at y."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    """The element; `label` is what a screen reader says."""
    head = f'<svg class="plot" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label, True)}">'
    return "\n".join([head, *parts, "</svg>"])


@dataclass(frozen=True)
class _Scale:
    """Values between two ticks to places between two ends; what lies beyond them goes to the end."""

    ticks: Sequence[float]
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def shows(self, value: float) -> bool:
        """Whether the value is between the two."""
        return self.ticks[0] <= value <= self.ticks[-1]


def _upright_grid(scale: _Scale, bottom: float, unit: str) -> Iterator[str]:
    for tick in scale.ticks:
        x = scale(tick)
        kind = "zero" if tick == 0 and scale.ticks[0] < 0 else "grid"
        yield f'<line class="{kind}" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{bottom:.1f}"/>'
        yield text(x, bottom + 15, number(tick), anchor="middle")
    yield text((scale.start + scale.end) / 2, bottom + 33, unit, anchor="middle")


def _marks(line: Line, scale: _Scale, y: float) -> Iterator[str]:
    style = f'style="--mark:{colour(line.position)}"'
    if line.quantiles:
        low, middle, high = (scale(value) for value in line.quantiles)
        yield f'<rect class="range" {style} x="{low:.1f}" y="{y - 6:.1f}" width="{high - low:.1f}" height="12" rx="3"/>'
        yield f'<line class="median" {style} x1="{middle:.1f}" y1="{y - 8:.1f}" x2="{middle:.1f}" y2="{y + 8:.1f}"/>'
    if line.before is not None:
        before = scale(line.before)
        yield f'<line class="shift" {style} x1="{before:.1f}" y1="{y}" x2="{scale(line.mean):.1f}" y2="{y}"/>'
        if scale.shows(line.before):
            yield f'<circle class="hollow" {style} cx="{before:.1f}" cy="{y:.1f}" r="4.5"/>'
    if line.interval:
        left, right = scale(line.mean - line.interval), scale(line.mean + line.interval)
        yield f'<line class="interval" {style} x1="{left:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}"/>'
    if scale.shows(line.mean):
        yield f'<circle class="mean" {style} cx="{scale(line.mean):.1f}" cy="{y:.1f}" r="5"/>'


def interval_plot(lines: Sequence[Line], label: str, unit: str, at_zero: bool = True) -> str:
    """A row for each line, its name and note above its marks, on one axis; with `at_zero` the axis has zero on it."""
    telling = [line for line in lines if not line.noisy] or lines
    reach = [value for line in telling for value in line.reach] + [0.0] * at_zero
    scale = _Scale(ticks(min(reach), max(reach)), MARGIN, WIDTH - MARGIN)
    bottom = (HEADER + BAND) * len(lines)
    parts = list(_upright_grid(scale, bottom, unit))
    for position, line in enumerate(lines):
        top = position * (HEADER + BAND)
        parts += [text(0, top + 17, line.name, "name"), text(WIDTH, top + 17, line.note, anchor="end")]
        parts += _marks(line, scale, top + HEADER + BAND / 2)
    return svg(WIDTH, bottom + AXIS, label, parts)


def bars_plot(rows: Sequence[tuple[str, str, Mapping[str, int]]], label: str, fill: Callable[[str], str]) -> str:
    """A row for each (name, note, counts): a bar of all devices, cut by what the counts are of; `fill` colours that."""
    parts, height = [], HEADER + BAND
    for position, (name, note, counts) in enumerate(rows):
        top, x, total = position * height, 0.0, sum(counts.values())
        parts += [text(0, top + 17, name, "name"), text(WIDTH, top + 17, note, anchor="end")]
        for what, count in counts.items():
            width = WIDTH * count / total
            parts.append(
                f'<rect style="fill:{fill(what)}" x="{x:.1f}" y="{top + HEADER + 3:.1f}" rx="2" height="13" '
                f'width="{max(width - 1.5, 1):.1f}"><title>{escape(what)}: {count} of {total}</title></rect>'
            )
            x += width
    return svg(WIDTH, height * len(rows) + 2, label, parts)


@dataclass(frozen=True)
class Series:
    """A figure over time; each point is (the day's ordinal, value, half its interval or None).

    Attributes:
        noisy: it does not stretch the axis.
    """

    position: int
    points: Sequence[tuple[int, float, float | None]]
    noisy: bool = False

    @property
    def reach(self) -> list[float]:
        """Every value that is drawn."""
        return [bound for _, value, half in self.points for bound in (value - (half or 0), value + (half or 0))]


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _drawn(series: Series, across: _Scale, up: _Scale) -> Iterator[str]:
    style = f'style="--mark:{colour(series.position)}"'
    above = [(across(day), up(value + (half or 0))) for day, value, half in series.points]
    below = [(across(day), up(value - (half or 0))) for day, value, half in series.points]
    places = [(across(day), up(value)) for day, value, _ in series.points]
    seen = [place for place, (_, value, _) in zip(places, series.points, strict=True) if up.shows(value)]
    yield f'<polygon class="band" {style} points="{_path([*above, *reversed(below)])}"/>'
    yield f'<polyline class="line" {style} points="{_path(places)}"/>'
    yield from (f'<circle class="mean" {style} cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in seen)


def _days(first: int, last: int) -> Iterator[tuple[int, str]]:
    """At most seven days between two ordinals, and what to call them."""
    for day in range(first, last + 1, (last - first) // 7 + 1):
        yield day, date.fromordinal(day).strftime("%d %b")


def time_plot(series: Sequence[Series], label: str, at_zero: bool = True) -> str:
    """A line and a band for each group, with at least one point, over the days from the first to the last."""
    telling = [one for one in series if not one.noisy] or series
    reach = [value for one in telling for value in one.reach] + [0.0] * at_zero
    days = [day for one in series for day, _, _ in one.points]
    bottom = TIME_HEIGHT - 26
    up = _Scale(ticks(min(reach), max(reach), 5), bottom, 8)
    across = _Scale((min(days), max(days) + (min(days) == max(days))), TIME_LEFT + 8, WIDTH - 24)
    parts = []
    for tick in up.ticks:
        kind = "zero" if tick == 0 and up.ticks[0] < 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{TIME_LEFT}" y1="{up(tick):.1f}" x2="{WIDTH}" y2="{up(tick):.1f}"/>')
        parts.append(text(TIME_LEFT - 8, up(tick) + 4, number(tick), anchor="end"))
    parts += [text(across(day), bottom + 20, name, anchor="middle") for day, name in _days(min(days), max(days))]
    for one in series:
        parts += _drawn(one, across, up)
    return svg(WIDTH, TIME_HEIGHT, label, parts)
