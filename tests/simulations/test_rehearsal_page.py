"""How a rehearsal tells times, and what its picture shows of what is short."""

import pytest

from simulations.rehearsal.figure import timeline
from simulations.rehearsal.stages import PASSED, StageResult
from simulations.rehearsal.times import moment_text, unit_of

HOUR_S = 3_600.0


def stage(ended_s: float) -> StageResult:
    return StageResult(1, "100 %", 0.0, ended_s, 4, 4, 4, 0, 0, None, PASSED, "", {}, 0, 0, 0.0)


@pytest.mark.parametrize(
    ("whole_s", "told"),
    [(7.5, "7.2 s"), (600.0, "0.1 min"), (2 * HOUR_S, "day 1 00:00"), (90 * 24 * HOUR_S, "day 1 00:00")],
)
def test_moments_of_a_short_rehearsal_are_seconds_or_minutes(whole_s: float, told: str) -> None:
    assert moment_text(7.2, whole_s) == told


@pytest.mark.parametrize(
    ("whole_s", "name"), [(0.0, "seconds"), (120, "minutes"), (2 * HOUR_S, "hours"), (72 * HOUR_S, "days")]
)
def test_the_axis_counts_what_tables_do(whole_s: float, name: str) -> None:
    assert unit_of(whole_s)[1] == name
    picture = timeline([stage(whole_s)], [whole_s], whole_s, 4)
    assert f"virtual {name} since the start" in picture
    assert "devices that have reported" in picture


def test_what_ends_at_an_edge_is_shown_whole() -> None:
    """A stage that ends at once, and a way back that takes no time."""
    plain = timeline([stage(0.0)], [], HOUR_S, 4)
    back = timeline([stage(0.0)], [], HOUR_S, 4, back_s=HOUR_S)
    assert "the way back" in back
    assert back.count("<use") == plain.count("<use") + 1, "a mark of its own"
