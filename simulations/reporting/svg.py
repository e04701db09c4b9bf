"""Matplotlib figures as SVG: inside an HTML page coloured by its style sheet, without ids that clash; or as a file.

Colours are drawn as placeholders that no picture uses. In a page they become CSS variables, so that one drawing
serves light and dark, and prolog, metadata and namespaces go: HTML needs none of them. In a file they become the
style sheet's light colours. Text stays text.
"""

import re

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from server.fleet.reports import svg
from server.fleet.reports.svg import FONT_SIZE as FONT_SIZE
from simulations.reporting.templates import light_colours

INK, MUTED, GRID, ACCENT, WORSE, PAPER = (f"#0101{n:02x}" for n in range(1, 7))
CLASS_COLOURS = tuple(f"#0202{n:02x}" for n in range(1, 9))
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", ACCENT: "accent", WORSE: "worse", PAPER: "card"} | {
    colour: f"class-{position}" for position, colour in enumerate(CLASS_COLOURS)
}
NAMESPACE, LINKS = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
POINTS_PER_INCH = 72


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


def to_file(figure: Figure, name: str) -> bytes:
    """The figure as an SVG file of its own, on white."""
    return standalone(to_svg(figure, name, name))


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an `<svg>` element; `name` makes its ids its own, `label` is what a screen reader says."""
    return svg.to_svg(figure, label, name, VARIABLES)


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
