"""Results for people: tables, and the plot of the speed ratios."""

import io

import matplotlib
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy import Effect
from benchmarks.memory import DEVICE, DEVICE_BYTES, Peak
from benchmarks.speed import Ratio, Spread, Whole
from tinytrain_core.statistics import Mean, Paired

KIB = 1024
ENGINE, OTHER, TARGET = "#0f766e", "#b45309", "#ffffff"


def _spread(spread: Spread, digits: int = 1) -> str:
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f} to {spread.high:.{digits}f})"


def _percent(spread: Spread) -> str:
    return f"{100 * spread.median:.1f} %"


def print_speed(console: Console, ratios: list[Ratio], wholes: list[Whole]) -> None:
    """Ratios of CPU seconds, medians and quartiles over rounds."""
    table = Table(title="Whole personalisation: times as fast as plain PyTorch (one thread, CPU time)")
    for column in ("backbone", "blocks", "against", "times as fast", "at least", "baseline, s"):
        table.add_column(column, justify="left" if column in ("backbone", "against") else "right")
    for r in ratios:
        target = "" if r.target is None else f"{r.target:g}"
        table.add_row(r.backbone, str(r.blocks), r.baseline, _spread(r.times), target, _spread(r.seconds, 2))
    console.print(table)
    table = Table(title="The engine's time")
    for column in ("backbone", "blocks", "layers", "whole, s", "clean features", "selection", "at most"):
        table.add_column(column, justify="left" if column == "backbone" else "right")
    for w in wholes:
        shares = _percent(w.clean_share), _percent(w.selection_share), f"{100 * w.selection_target:g} %"
        table.add_row(w.backbone, str(w.blocks), str(w.updated_layers), _spread(w.seconds, 3), *shares)
    console.print(table)


def print_memory(console: Console, peaks: list[Peak]) -> None:
    """Peaks beside each other; ratios are of allocated bytes, to the device's."""
    table = Table(title=f"Peak bytes, frozen weights apart; the device has {DEVICE_BYTES / KIB:,.0f} KiB")
    for column in ("backbone", "arm", "images", "weights", "predicted", "tensors", "allocated", "process", "times"):
        table.add_column(column, justify="left" if column in ("backbone", "arm") else "right")
    ours = {peak.backbone: peak.allocated_bytes for peak in peaks if peak.arm == DEVICE}
    for p in peaks:
        sizes = (f"{n / KIB:,.0f}" if n else "" for n in (p.predicted_bytes, p.tensor_bytes, p.allocated_bytes))
        times = f"{p.allocated_bytes / ours[p.backbone]:,.0f}"
        weights = f"{p.updated_weights:,}" if p.updated_weights else "all"
        table.add_row(p.backbone, p.arm, str(p.images), weights, *sizes, f"{p.process_bytes / KIB:,.0f}", times)
    console.print(table)


def _points(found: Mean | Paired) -> str:
    half = "" if found.interval is None else f" ± {found.interval:.2f}"
    return f"{found.mean:+.2f}{half}"


def print_effects(console: Console, effects: list[Effect], data: str, device: str, tasks: int) -> None:
    """Gains in points with 95 % intervals."""
    table = Table(title=f"{data}, budget of {device}, {tasks} tasks: points, 95 % intervals")
    for column in ("setting", "gain", f"beside {effects[0].setting}", "got worse"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for e in effects:
        table.add_row(e.setting, _points(e.gain), _points(e.difference), f"{100 * e.worse:.0f} %")
    console.print(table)


def draw_speed(ratios: list[Ratio]) -> bytes:
    """An SVG file: a panel for each backbone and window, a bar for each baseline, its target as a mark."""
    panels = list(dict.fromkeys((r.backbone, r.blocks) for r in ratios))
    figure = Figure(figsize=(4.2 * len(panels), 2.6), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        rows = [r for r in ratios if (r.backbone, r.blocks) == panel]
        for y, r in enumerate(rows):
            axes.barh(y, r.times.median, color=OTHER if "channels-last" in r.baseline else ENGINE, height=0.6)
            axes.plot([r.times.low, r.times.high], [y, y], color="black", linewidth=1)
            axes.annotate(f"{r.times.median:.1f}", (r.times.median, y), (4, 5), textcoords="offset points", fontsize=8)
            if r.target is not None:
                axes.plot([r.target] * 2, [y - 0.4, y + 0.4], color=TARGET, linewidth=1.5)
        axes.set_yticks(range(len(rows)), [r.baseline for r in rows], fontsize=8)
        axes.invert_yaxis()
        axes.set_title(f"{panel[0]}, last {panel[1]} blocks", fontsize=9, loc="left")
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("times as fast: median and quartiles; the white mark is the least that was aimed at", fontsize=8)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "bench", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
