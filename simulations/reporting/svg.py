"""Matplotlib figures as SVG: inside an HTML page coloured by its style sheet, without ids that clash; or as a file.

Colours are drawn as placeholders that no picture uses. In a page they become CSS variables, so that one drawing
serves light and dark, and prolog, metadata and namespaces go: HTML needs none of them. In a file they become the
style sheet's light colours. Text stays text.
"""

import io
import re
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulations.reporting.templates import light_colours

INK, MUTED, GRID, ACCENT, WORSE, PAPER = (f"#0101{n:02x}" for n in range(1, 7))
CLASS_COLOURS = tuple(f"#0202{n:02x}" for n in range(1, 9))
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", ACCENT: "accent", WORSE: "worse", PAPER: "card"} | {
    colour: f"class-{position}" for position, colour in enumerate(CLASS_COLOURS)
}
NAMESPACE, LINKS = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
POINTS_PER_INCH = 72
FONT_SIZE = 11


def new_axes(width: float, height: float, left: float, right: float, top: float, bottom: float) -> tuple[Figure, Axes]:
    """A figure of `width` x `height` points with one set of axes inside the given margins, in points."""
    figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    )
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=FONT_SIZE - 1, colors=MUTED)
    axes.xaxis.label.set(color=MUTED, fontsize=FONT_SIZE)
    return figure, axes


def class_colour(position: int) -> str:
    """The placeholder of the class at `position` of a summary."""
    return CLASS_COLOURS[position % len(CLASS_COLOURS)]


def _render(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None})
    return buffer.getvalue()


def to_file(figure: Figure, name: str) -> bytes:
    """The figure as an SVG file of its own, on white."""
    return standalone(to_svg(figure, name, name))


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an `<svg>` element; `name` makes its ids its own, `label` is what a screen reader says."""
    text = _render(figure, name)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    view_box = re.search(r'viewBox="([^"]+)"', text)
    assert view_box is not None, "matplotlib writes a viewBox into every SVG"
    head = f'<svg class="plot" viewBox="{view_box[1]}" role="img" aria-label="{escape(label, quote=True)}">'
    text = re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)
    needed = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in needed else "", text)
    text = re.sub(r"font: [^;\"]*?([0-9.]+px)[^;\"]*", r"font-size: \1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return re.sub(r"\n\s*", "\n", text).strip()


def standalone(element: str) -> bytes:
    """An element of `to_svg` as an SVG file of its own, on white."""
    colours = light_colours()
    for variable in VARIABLES.values():
        element = element.replace(f"var(--{variable})", colours[variable])
    style = f"background:{colours[VARIABLES[PAPER]]};font-family:sans-serif"
    head = f'<svg xmlns="{NAMESPACE}" xmlns:xlink="{LINKS}" style="{style}" '
    return element.replace("<svg ", head, 1).encode()


def file_name(element: str) -> str:
    """What a file with an element of `to_svg` is called: its label in lower case."""
    label = re.search(r'aria-label="([^"]*)"', element)
    return re.sub(r"[^a-z0-9]+", "-", label[1].lower() if label else "plot").strip("-") + ".svg"
