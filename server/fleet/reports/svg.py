"""Matplotlib figures as SVG elements inside a page, which take their colours from its style sheet.

Colours are drawn as placeholders that no picture uses, which become CSS variables: one drawing serves light and dark.
"""

import io
import re
from collections.abc import Mapping
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = (f"#0101{n:02x}" for n in range(4))
COLOURS = tuple(f"#0202{n:02x}" for n in range(8))  # that the style sheet has for classes
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "card"} | {c: f"class-{n}" for n, c in enumerate(COLOURS)}
WIDTH = 480.0  # points, of every plot; the page scales them
FONT_SIZE = 11
_POINTS_PER_INCH = 72


def colour(position: int) -> str:
    """The placeholder of the group at `position`."""
    return COLOURS[position % len(COLOURS)]


def new_axes(height: float, left: float, bottom: float) -> tuple[Figure, Axes]:
    """A figure with axes of `height` points, without a frame, and `left` and `bottom` points beside and below them."""
    top, right = 4.0, 14.0
    full = height + bottom + top
    figure = Figure(figsize=(WIDTH / _POINTS_PER_INCH, full / _POINTS_PER_INCH))
    axes = figure.add_axes((left / WIDTH, bottom / full, (WIDTH - left - right) / WIDTH, height / full))
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=FONT_SIZE - 1, colors=MUTED)
    axes.ticklabel_format(useOffset=False)
    axes.xaxis.label.set(color=MUTED, fontsize=FONT_SIZE)
    return figure, axes


def to_svg(figure: Figure, label: str, name: str = "", variables: Mapping[str, str] = VARIABLES) -> str:
    """The figure as an element.

    Args:
        label: what a screen reader says.
        name: makes its ids its own; empty is the label.
        variables: of the page's style sheet, by the placeholder that each replaces.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name or label, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None, "matplotlib writes a viewBox into every SVG"
    head = f'<svg class="plot" viewBox="{box[1]}" role="img" aria-label="{escape(label)}">'
    text = re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)
    needed = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in needed else "", text)
    text = re.sub(r"font-family: [^;\"]*; ", "", text)  # the page's
    text = re.sub(r"font: ([0-9]* ?)([0-9.]+px)[^;\"]*", r"font-weight: \1; font-size: \2", text)
    for placeholder, variable in variables.items():
        text = text.replace(placeholder, f"var(--{variable})")
    return re.sub(r"\n\s*", "\n", text).strip()
