"""A file that says when nodes were there: CSV with the header `node,start_s,end_s`, one stay a line.

Times are rounded to whole seconds, so that they are exact whatever the date.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinytrain_core.errors import ConfigurationError

HEADER = ["node", "start_s", "end_s"]
MAX_STAYS = 5_000_000
MAX_PATTERNS = 1_000_000
Stay = tuple[int, int, int]


class Trace:
    """The stays of some nodes, the patterns that others repeat. All times are whole seconds into the file.

    Args:
        stays: node, start and end of each, in any order; they may overlap.
    """

    def __init__(self, stays: Iterable[Stay]) -> None:
        merged = np.array(_merged(stays), np.int64)
        self._nodes, self._start_s, self._end_s = merged.T
        self.first_node, self.patterns = int(self._nodes[0]), int(self._nodes[-1]) + 1
        self._changes_s: dict[int, list[int]] = {}
        self._first = np.searchsorted(self._nodes, np.arange(self.patterns + 1))
        self.changes_s: list[int] = np.union1d(self._start_s, self._end_s).tolist()

    def is_there(self, pattern: int, into_s: float) -> bool:
        """Whether a node of this pattern is there, so many seconds into the file."""
        first, last = self._first[pattern], self._first[pattern + 1]
        place = first + int(np.searchsorted(self._start_s[first:last], into_s, side="right")) - 1
        return bool(place >= first and into_s < self._end_s[place])

    def who_is_there(self, into_s: float) -> NDArray[np.bool_]:
        """The same for each pattern (patterns,)."""
        there = np.zeros(self.patterns, bool)
        there[self._nodes[(self._start_s <= into_s) & (into_s < self._end_s)]] = True
        return there

    def changes_of_s(self, pattern: int) -> list[int]:
        """When a node of this pattern may come or go, sorted."""
        if pattern not in self._changes_s:
            part = slice(self._first[pattern], self._first[pattern + 1])
            self._changes_s[pattern] = np.union1d(self._start_s[part], self._end_s[part]).tolist()
        return self._changes_s[pattern]


def _merged(stays: Iterable[Stay]) -> list[Stay]:
    """The stays in order of node and time, those that touch made one."""
    merged: list[Stay] = []
    for node, start_s, end_s in sorted(stays):
        if merged and merged[-1][0] == node and start_s <= merged[-1][2]:
            merged[-1] = node, merged[-1][1], max(end_s, merged[-1][2])
        else:
            merged.append((node, start_s, end_s))
    return merged


def _stay(row: list[str], where: str, period_s: int) -> Stay:
    """A line's node, start and end.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        node, start_s, end_s = int(row[0]), round(float(row[1])), round(float(row[2]))
    except (ValueError, OverflowError, IndexError):
        raise ConfigurationError(f"{where}: {','.join(row)[:60]!r} is not a node's number and two times") from None
    if len(row) != len(HEADER):
        raise ConfigurationError(f"{where}: {len(row)} values; expected {','.join(HEADER)}")
    if not 0 <= node < MAX_PATTERNS:
        raise ConfigurationError(f"{where}: node {node}; nodes count from 0, up to {MAX_PATTERNS - 1}")
    if not 0 <= start_s < end_s <= period_s:
        raise ConfigurationError(
            f"{where}: a stay from {start_s} to {end_s} s; it must begin at 0 or later, last a second "
            f"at least, and end by availability.period_s, {period_s} s"
        )
    return node, start_s, end_s


def _stays(lines: Iterator[list[str]], file: Path, period_s: int) -> Iterator[Stay]:
    for number, row in enumerate(lines, start=2):
        if number > MAX_STAYS:
            raise ConfigurationError(f"{file}: more than {MAX_STAYS} lines")
        if row:
            yield _stay(row, f"{file}, line {number}", period_s)


def read_trace(file: Path, period_s: int) -> Trace:
    """Read a trace.

    Args:
        period_s: the seconds that it covers.

    Raises:
        ConfigurationError: there is no such file, it has another header, or a line is no stay; with its number.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = csv.reader(opened)
            header = [name.strip() for name in next(lines, [])]
            if header != HEADER:
                raise ConfigurationError(
                    f"{file}, line 1: the header is {','.join(header)[:60]!r}; expected {','.join(HEADER)}"
                )
            stays = list(_stays(lines, file, period_s))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"the availability trace {file} cannot be read: {error}") from None
    if not stays:
        raise ConfigurationError(f"{file} holds no stay, so nobody is ever there")
    return Trace(stays)
