"""The plot of live memory against budget, class by class."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from simulations.reporting.bands import CLASS_BAND, HEADER, NARROW, grid, header, of_class
from simulations.reporting.crowds import MANY, budget_band, memory_hills
from simulations.reporting.summary import ClassRow, Summary, evaluated, latest
from simulations.reporting.svg import PAPER, WORSE, class_colour, new_axes, to_svg
from simulations.reporting.units import bytes_text, percent_text
from tinytrain_core.report import Outcome, PersonalisationReport

KIB = 1024


def _memory_ticks(low: float, high: float) -> list[float]:
    """At most about six powers of two between the two byte counts."""
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    step = max(2, math.ceil((last - first) / 5))
    return [2.0**power for power in range(first, last + 1) if power % step == 0]


def _memory_band(axes: Axes, top: float, members: Sequence[PersonalisationReport], colour: str, left: float) -> None:
    middle = top + CLASS_BAND / 2
    budget = min(report.memory_budget_bytes for report in members)
    axes.barh(middle, budget - left, CLASS_BAND, left=left, color=colour, alpha=0.13, linewidth=0)
    for budget in {report.memory_budget_bytes for report in members}:
        axes.plot([budget, budget], [top, top + CLASS_BAND], color=colour, linewidth=3, solid_capstyle="butt")
    for position, report in enumerate(members):
        y = top + CLASS_BAND * (0.2 + 0.6 * (position + 0.5) / len(members))
        if report.outcome == Outcome.CANNOT_AFFORD:
            axes.plot([report.live_memory_bytes], [y], "o", ms=5.5, mfc=PAPER, mec=colour, mew=1.2)
        elif report.live_memory_bytes:
            over = report.live_memory_bytes > report.memory_budget_bytes
            axes.plot([report.live_memory_bytes], [y], "o", ms=5.5, color=WORSE if over else colour, mew=0)


def _use_text(row: ClassRow) -> str:
    budget = bytes_text(row.memory_budget_bytes)
    if row.memory_share is not None:
        return f"at most {percent_text(row.memory_share)} of {budget}"
    return f"no update fits {budget}" if row.cannot_afford else f"nobody trained; {budget}"


def memory_figure(summary: Summary, reports: Sequence[PersonalisationReport]) -> str:
    """Live memory of each device (dots), or its histogram, against the budget (bar that ends in a line), log scale."""
    done = [report for report in evaluated(latest(reports)) if report.memory_budget_bytes]
    rows = [row for row in summary.rows if of_class(row, done)]
    sizes = [n for r in done for n in (r.live_memory_bytes, r.memory_budget_bytes) if n] or [KIB]
    left, right = min(sizes) / 1.6, max(sizes) * 1.6
    height = (HEADER + CLASS_BAND) * len(rows)
    figure, axes = new_axes(NARROW, height + 50, 12, 12, 4, 46)
    axes.set_xscale("log", base=2)
    axes.set_xlim(left, right)
    for position, row in enumerate(rows):
        top = position * (HEADER + CLASS_BAND)
        header(axes, top + HEADER * 0.55, row.title, _use_text(row))
        colour, members = class_colour(summary.rows.index(row)), of_class(row, done)
        if len(done) > MANY:
            budget_band(axes, top + HEADER, CLASS_BAND, members, colour)
            memory_hills(axes, top + HEADER, CLASS_BAND, members, colour)
        else:
            _memory_band(axes, top + HEADER, members, colour, left)
    ticks = _memory_ticks(left, right)
    axes.set_xticks(ticks, [bytes_text(tick).replace(".00", "").replace(".0", "") for tick in ticks], rotation=0)
    axes.minorticks_off()
    grid(axes)
    axes.set_xlim(left, right)
    axes.set_ylim(max(height, 1) + 4, 0)
    axes.set_xlabel("live memory of the training step, log scale")
    return to_svg(figure, "memory", "Live memory of each device against its budget")
