"""When nodes can be reached. Times are virtual seconds since 1970; nothing changes between two changes.

A day begins at midnight of the clock's first day; all nodes' hours are those of one clock.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulations.clock import START_S
from simulations.world.draws import Figure, normals, uniform, uniforms
from simulations.world.settings import DAY_S, HOUR_S, Availability
from simulations.world.traces import Trace, read_trace
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.seeds import Draw

MINUTE_S = 60.0


class Presence(Protocol):
    """Who can be reached when."""

    def online(self, node: int, at_s: float) -> bool:
        """Whether a node can be reached."""

    def online_nodes(self, at_s: float) -> list[int]:
        """The nodes that can be reached, in order."""

    def next_change_s(self, at_s: float) -> float | None:
        """The first time after `at_s` at which any node's presence may change; None is never."""

    def next_change_of_s(self, node: int, at_s: float) -> float | None:
        """The same for one node."""


class Always:
    """Everybody, at any time."""

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes

    def online(self, node: int, at_s: float) -> bool:
        return True

    def online_nodes(self, at_s: float) -> list[int]:
        return list(range(self._nodes))

    def next_change_s(self, at_s: float) -> float | None:
        return None

    def next_change_of_s(self, node: int, at_s: float) -> float | None:
        return None


class Diurnal:
    """A window each day, shifted for each node by a number of minutes of its own; on some days it does not come."""

    def __init__(self, settings: Availability, seed: int, nodes: int) -> None:
        shift_h = settings.from_hour + settings.phase_sd_h * normals(nodes, seed, Draw.NODE_FIGURE, Figure.PHASE)
        self._begins_s = np.rint(shift_h * HOUR_S / MINUTE_S) * MINUTE_S % DAY_S
        self._length_s = round(settings.hours * HOUR_S)
        self._presence, self._seed, self._nodes = settings.presence, seed, nodes
        ends_s = (self._begins_s + self._length_s) % DAY_S
        self._changes_s: list[float] = np.unique(np.concatenate([self._begins_s, ends_s])).tolist()
        self._on_day = lru_cache(maxsize=8)(self._draw_day)

    def _draw_day(self, day: int) -> NDArray[np.bool_]:
        """Who is there in the window that begins on the day `day` (nodes,)."""
        there: NDArray[np.bool_] = uniforms(self._nodes, self._seed, Draw.PRESENCE, day) < self._presence
        return there

    def online(self, node: int, at_s: float) -> bool:
        day, into_s = divmod(at_s - START_S - float(self._begins_s[node]), DAY_S)
        return into_s < self._length_s and uniform(node, self._seed, Draw.PRESENCE, _named(day)) < self._presence

    def online_nodes(self, at_s: float) -> list[int]:
        days, into_s = np.divmod(at_s - START_S - self._begins_s, DAY_S)
        there = np.zeros(self._nodes, bool)
        for day in np.unique(days).tolist():  # today's windows, and those that began yesterday
            there |= (days == day) & self._on_day(_named(day))
        return np.flatnonzero(there & (into_s < self._length_s)).tolist()

    def next_change_s(self, at_s: float) -> float | None:
        return _next_of(self._changes_s, at_s, DAY_S)

    def next_change_of_s(self, node: int, at_s: float) -> float | None:
        begins_s = float(self._begins_s[node])
        return _next_of(sorted({begins_s, (begins_s + self._length_s) % DAY_S}), at_s, DAY_S)


def _named(day: float) -> int:
    """A day as a part of a draw's name, where the day before the first must not be below 0."""
    return int(day) + 1_000_000


def _next_of(changes_s: Sequence[float], at_s: float, period_s: float) -> float | None:
    """The first time after `at_s` of those that come again each period, as sorted seconds into it."""
    if not changes_s:
        return None
    period, into_s = divmod(at_s - START_S, period_s)
    place = bisect_right(changes_s, into_s)
    if place == len(changes_s):
        period, place = period + 1, 0
    return START_S + period * period_s + changes_s[place]


class Traced:
    """As a file says, again and again."""

    def __init__(self, settings: Availability, nodes: int) -> None:
        self._trace: Trace = read_trace(Path(settings.file).expanduser(), settings.period_s)
        self._period_s, self._nodes = settings.period_s, nodes
        first = self._trace.first_node
        if nodes <= first:
            raise ConfigurationError(
                f"{settings.file} has stays of node {first} and later ones; this fleet's nodes are 0 to {nodes - 1}, "
                "so that nobody is ever there"
            )

    def _pattern(self, node: int) -> int:
        return node % self._trace.patterns

    def online(self, node: int, at_s: float) -> bool:
        return self._trace.is_there(self._pattern(node), (at_s - START_S) % self._period_s)

    def online_nodes(self, at_s: float) -> list[int]:
        there = self._trace.who_is_there((at_s - START_S) % self._period_s)
        return np.flatnonzero(there[np.arange(self._nodes) % self._trace.patterns]).tolist()

    def next_change_s(self, at_s: float) -> float | None:
        return _next_of(self._trace.changes_s, at_s, self._period_s)

    def next_change_of_s(self, node: int, at_s: float) -> float | None:
        return _next_of(self._trace.changes_of_s(self._pattern(node)), at_s, self._period_s)


PRESENCES: dict[str, Callable[[Availability, int, int], Presence]] = {
    "always": lambda settings, seed, nodes: Always(nodes),
    "diurnal": Diurnal,
    "trace": lambda settings, seed, nodes: Traced(settings, nodes),
}


def presence(settings: Availability, seed: int, nodes: int) -> Presence:
    """Who can be reached when, of `nodes` nodes.

    Raises:
        ConfigurationError: the file of a trace is missing or wrong.
    """
    return PRESENCES[settings.kind](settings, seed, nodes)


def next_online_s(who: Presence, node: int, at_s: float, until_s: float) -> float | None:
    """The first time from `at_s` on, and not after `until_s`, at which a node can be reached; None for none."""
    now_s: float | None = at_s
    while now_s is not None and now_s <= until_s:
        if who.online(node, now_s):
            return now_s
        now_s = who.next_change_of_s(node, now_s)
    return None
