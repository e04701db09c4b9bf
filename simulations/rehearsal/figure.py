"""The picture of a rehearsal: how many devices have reported when, the stages, and where a gate stopped one."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from simulations.rehearsal.stages import PASSED, STOPPED, StageResult
from simulations.rehearsal.times import unit_of
from simulations.reporting.svg import ACCENT, FONT_SIZE, GRID, INK, MUTED, WORSE, new_axes, to_svg

WIDTH, HEIGHT = 720.0, 280.0
MOST_POINTS = 1_000
MARKS = {PASSED: ("D", INK), STOPPED: ("X", WORSE)}
BACK = ("<", ACCENT)
MARGIN = 0.015  # of the time axis, at both ends, so that marks there are whole
LANE = 0.11  # of the curve's height, for each stage's bar and its name


def _curve(axes: Axes, times_s: Sequence[float], ended_s: float, unit_s: float, devices: int) -> None:
    """The share of devices that have reported, as steps."""
    every = max(len(times_s) // MOST_POINTS, 1)
    places = [*range(0, len(times_s), every)]
    x = [0.0, *(times_s[place] / unit_s for place in places), ended_s / unit_s]
    y = [0.0, *(100 * (place + 1) / devices for place in places), 100 * len(times_s) / devices]
    axes.fill_between(x, y, step="post", color=ACCENT, alpha=0.15, linewidth=0)
    axes.step(x, y, where="post", color=ACCENT, linewidth=1.8)


def _lane(axes: Axes, place: int, began: float, ended: float, text: str, colour: str, marker: str = "") -> None:
    """A bar below the curve, from when to when, its name above it, and what it ends in."""
    y = -100 * LANE * place
    axes.plot([began, ended], [y, y], color=colour, linewidth=4, solid_capstyle="butt")
    axes.text(0, y + 45 * LANE, text, va="center", color=MUTED, fontsize=FONT_SIZE - 2)
    if marker:
        axes.plot([ended], [y], marker=marker, color=colour, markersize=7, clip_on=False)
        axes.axvline(ended, color=GRID, linewidth=0.8, zorder=0)


def _lanes(axes: Axes, stages: Sequence[StageResult], back_s: float | None, ended_s: float, unit_s: float) -> None:
    """A bar for each stage that began, and one for the way back."""
    begun = [(stage, stage.began_s) for stage in stages if stage.began_s is not None]
    for place, (stage, began_s) in enumerate(begun, 1):
        end_s = ended_s if stage.ended_s is None else stage.ended_s
        marker, colour = MARKS.get(stage.result, ("", INK))
        name = f"stage {stage.number}, {stage.title}: {stage.result}"
        _lane(axes, place, began_s / unit_s, end_s / unit_s, name, colour, marker)
    if back_s is not None:
        marker, colour = BACK
        _lane(axes, len(begun) + 1, back_s / unit_s, ended_s / unit_s, "the way back", colour, marker)


def timeline(
    stages: Sequence[StageResult],
    times_s: Sequence[float],
    ended_s: float,
    devices: int,
    back_s: float | None = None,
) -> str:
    """The picture as an `<svg>` element. Times are virtual seconds since the start.

    Args:
        times_s: when each device had reported. ended_s: the end of the rehearsal.
        back_s: when nodes were told to go back; None where they were not.
    """
    unit_s, unit, _ = unit_of(ended_s)
    lanes = sum(stage.began_s is not None for stage in stages) + (back_s is not None)
    figure, axes = new_axes(WIDTH, HEIGHT * (1 + LANE * lanes), 62, 16, 12, 40)
    _lanes(axes, stages, back_s, ended_s, unit_s)
    _curve(axes, times_s, ended_s, unit_s, max(devices, 1))
    axes.set_ylim(-100 * LANE * (lanes + 0.5), 104)
    span = max(ended_s / unit_s, 1e-6)
    axes.set_xlim(-MARGIN * span, (1 + MARGIN) * span)
    axes.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_ylabel("devices that have reported", loc="top", color=MUTED, fontsize=FONT_SIZE)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"virtual {unit} since the start")
    label = f"Share of the rollout's {devices} devices that have reported, over time, and its stages"
    return to_svg(figure, "rehearsal-timeline", label)
