"""The plots of a report where single devices cannot be told apart any more: distributions, a few shapes a class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from simulations.reporting.svg import PAPER, WORSE
from tinytrain_core.report import Outcome, PersonalisationReport

MANY = 400  # devices; beyond that a mark for each is no picture
BINS = 48
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
THIN, THICK = 2.0, 9.0  # points, of a box's 10 to 90 %, and of its middle half
ROOM = 0.92  # of a band, that its highest bin takes

Members = Sequence[PersonalisationReport]


def box(axes: Axes, y: float, values: Sequence[float], colour: str, hollow: bool = False) -> None:
    """10 to 90 % of the values as a thin bar, their middle half as a thick one, the median as a gap or a stroke."""
    low, quarter, middle, three, high = np.quantile(np.asarray(values), SHARES)
    axes.plot([low, high], [y, y], color=colour, linewidth=THIN, alpha=0.45, solid_capstyle="butt")
    face = PAPER if hollow else colour
    axes.barh(y, three - quarter, THICK, left=quarter, facecolor=face, edgecolor=colour, linewidth=1.4)
    axes.plot([middle], [y], "|", color=colour if hollow else PAPER, markersize=THICK + 2, markeredgewidth=2)


def accuracy_boxes(axes: Axes, top: float, height: float, members: Members, colour: str) -> None:
    """Accuracies before (hollow) and after (full) of a class, in per cent, in a band below `top`."""
    box(axes, top + height * 0.14, [100 * r.accuracy_before for r in members], colour, hollow=True)
    box(axes, top + height * 0.54, [100 * r.accuracy_after for r in members], colour)


def _hill(axes: Axes, bottom: float, height: float, sizes: NDArray[np.float64], colour: str, hollow: bool) -> None:
    """A histogram over the logarithm, standing on `bottom`; data coordinates grow downwards."""
    edges = np.geomspace(*axes.get_xlim(), BINS + 1)
    counts, _ = np.histogram(sizes, edges)
    heights = bottom - height * ROOM * counts / max(counts.max(), 1)
    xs, ys = np.repeat(edges, 2)[1:-1], np.repeat(heights, 2)
    style = {"facecolor": "none", "edgecolor": colour} if hollow else {"facecolor": colour, "linewidth": 0}
    axes.fill_between(xs, ys, bottom, where=ys < bottom, **style)


def memory_hills(axes: Axes, top: float, height: float, members: Members, colour: str) -> None:
    """Live memory of a class's devices as a histogram in a band below `top`; hollow where it does not fit."""
    poor = [r.live_memory_bytes for r in members if r.outcome == Outcome.CANNOT_AFFORD and r.live_memory_bytes]
    ran = [r for r in members if r.outcome != Outcome.CANNOT_AFFORD and r.live_memory_bytes]
    for part, sizes in enumerate(([r.live_memory_bytes for r in ran], poor)):
        if sizes:
            _hill(axes, top + height, height, np.asarray(sizes, dtype=np.float64), colour, hollow=bool(part))
    over = [r.live_memory_bytes for r in ran if r.live_memory_bytes > r.memory_budget_bytes]
    if over:
        axes.plot([max(over)], [top + height / 2], "o", ms=5.5, color=WORSE, mew=0)


def budget_band(axes: Axes, top: float, height: float, members: Members, colour: str) -> None:
    """What training may use, up to the least budget of the class; a paler band on to the largest, where they differ."""
    left = axes.get_xlim()[0]
    least, largest = (bound(r.memory_budget_bytes for r in members) for bound in (min, max))
    middle = top + height / 2
    axes.barh(middle, least - left, height, left=left, color=colour, alpha=0.13, linewidth=0)
    axes.barh(middle, largest - least, height, left=least, color=colour, alpha=0.06, linewidth=0)
    for budget in {least, largest}:
        axes.plot([budget, budget], [top, top + height], color=colour, linewidth=3, solid_capstyle="butt")
