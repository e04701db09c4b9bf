"""The plot of an evaluation: a panel for each kind of task on each data, a dot and its interval per backbone."""

import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from server.backbones.evaluation import Evaluation, Row

PANEL_WIDTH, ROW_HEIGHT, HEAD = 3.2, 0.32, 0.9  # inches
COLOURS = ("#4b5563", "#0f766e", "#b45309", "#6d28d9", "#be123c", "#1d4ed8")


def _panel(axes: Axes, rows: list[Row], title: str, show_labels: bool) -> None:
    for position, row in enumerate(rows):
        colour = COLOURS[position % len(COLOURS)]
        mean, interval = 100 * row.accuracy.mean, 100 * row.accuracy.interval
        axes.errorbar(mean, position, xerr=interval, fmt="o", color=colour, capsize=3, markersize=6)
        axes.annotate(f"{mean:.1f}", (mean, position), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.margins(x=0.15)
    axes.set_yticks(range(len(rows)), [row.backbone for row in rows] if show_labels else [], fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw_evaluation(evaluation: Evaluation) -> bytes:
    """An SVG file with one row of panels per data."""
    kinds = list(dict.fromkeys(row.tasks for row in evaluation.rows))
    height = (HEAD + ROW_HEIGHT * len(evaluation.backbones)) * len(evaluation.data)
    figure = Figure(figsize=(1.6 + PANEL_WIDTH * len(kinds), height), layout="constrained")
    panels = figure.subplots(len(evaluation.data), len(kinds), squeeze=False)
    for across, data in enumerate(evaluation.data):
        for down, kind in enumerate(kinds):
            rows = [row for row in evaluation.rows if (row.data, row.tasks) == (data, kind)]
            _panel(panels[across][down], rows, f"{data}: {kind}", show_labels=down == 0)
    figure.supxlabel(f"frozen accuracy in %, 95 % interval, {evaluation.episodes} tasks each", fontsize=9)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "evaluation", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
