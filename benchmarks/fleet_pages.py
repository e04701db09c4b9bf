"""What the fleet benchmarks found, for people."""

import io

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.fleet_runs import Messages, Personalised
from tinytrain_core.statistics import Mean


def exponent(found: list[Messages]) -> float:
    """The slope of log seconds by log devices, of the largest sizes, from 1,000 on where there are two."""
    large = [each for each in found if each.devices >= 1_000]
    used = large if len(large) > 1 else found
    if len(used) < 2:
        return float("nan")
    slope, _ = np.polyfit(np.log([each.devices for each in used]), np.log([each.seconds for each in used]), 1)
    return float(slope)


def draw_scale(found: list[Messages]) -> bytes:
    """An SVG file: seconds of a round and peak memory of the driver, by devices, with the line of equal cost."""
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = np.array([each.devices for each in found])
    seconds = np.array([each.seconds for each in found])
    left.loglog(sizes, seconds, "o-", color="#0f766e", label="measured")
    left.loglog(sizes, seconds[-1] * sizes / sizes[-1], "--", color="#888888", linewidth=1, label="in proportion")
    left.set(xlabel="devices", title="seconds of a round")
    left.legend(frameon=False, fontsize=8)
    right.semilogx(sizes, [each.driver_mb for each in found], "o-", color="#b45309")
    right.set(xlabel="devices", title="peak memory of the driver, MB")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _text(mean: Mean, factor: float = 1.0, digits: int = 1) -> str:
    half = "" if mean.interval is None else f" ± {factor * mean.interval:.{digits}f}"
    return f"{factor * mean.mean:.{digits}f}{half}"


def personalise_table(ours: Personalised, other: Personalised) -> Table:
    """Devices a second, and what the training gave."""
    interval = other.interval_per_s
    low, high = ours.per_s / interval[1], ours.per_s / interval[0]
    times = f"{ours.per_s / other.per_s:.1f} ({low:.1f} to {high:.1f}) times as many devices a second"
    table = Table(title=f"Whole personalisation: {times}")
    for column in ("engine, client", "devices", "devices/s", "gain, points", "got worse", "peak of the driver, MB"):
        table.add_column(column, justify="left" if "client" in column else "right")
    for each in (ours, other):
        gains = [after - before for before, after in zip(each.before, each.after, strict=True)]
        worse = sum(gain < 0 for gain in gains) / len(gains)
        row = f"{each.per_s:.3f}", _text(Mean.of(gains), 100), f"{100 * worse:.0f} %", f"{each.driver_mb:,.0f}"
        table.add_row(each.engine, f"{each.devices:,}", *row)
    return table
