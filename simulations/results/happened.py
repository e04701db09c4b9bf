"""What happened in a fleet, for each device class and the whole: time, energy, bytes, budgets and use, failures.

Of all rounds: a device that took part in two rounds counts in both. A time is that of a device whose report came, from
the sending of its request on; what never came has none, and is among the failures.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from simulations.results.table import Columns
from tinytrain_core.devices.profile import catalogue
from tinytrain_core.report import Outcome
from tinytrain_core.statistics import Mean, quantile

TRAINED = (Outcome.ADAPTED.name.lower(), Outcome.KEPT_BASE.name.lower())
UNKNOWN_DEVICE = 0
POINTS = 200  # of a distribution's curve, at most


@dataclass(frozen=True)
class Spread:
    """How figures of `count` devices are distributed.

    Attributes:
        median, ninth: half and 90 % of the devices are below.
        greatest: the largest of them.
        curve: the figures at evenly spaced shares of the devices, from the least to the greatest.
    """

    count: int
    median: float
    ninth: float
    greatest: float
    curve: tuple[float, ...] = field(repr=False)

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """None of no values."""
        if not values:
            return None
        ordered = sorted(values)
        most = min(len(ordered), POINTS)
        curve = tuple(ordered[(len(ordered) - 1) * point // max(most - 1, 1)] for point in range(most))
        return cls(len(ordered), quantile(ordered, 0.5), quantile(ordered, 0.9), ordered[-1], curve)

    def steps(self, start: float, end: float) -> tuple[list[float], list[float]]:
        """Figures and the share of the devices at or below each, from none at `start` to all at `end`."""
        shares = [(point + 1) / len(self.curve) for point in range(len(self.curve))]
        return [start, *self.curve, end], [0.0, *shares, 1.0]


@dataclass(frozen=True)
class Happened:
    """What happened to the devices of a class, or to all.

    Attributes:
        name: of the class in the catalogue; empty for all, and for one that it does not have.
        devices: so many, by number. tries: a device in a round is one; `results` of them have a result.
        time_s: from request to report.
        energy_j: of each device that computed, all its rounds together, so that each is one sample; `total_j` of all.
        down_bytes, up_bytes: of all together; None where they are not known.
        memory, macs: use over budget of the devices that trained, memory live and MACs of a backward pass.
        causes: why there is no result -> tries; `ended` is that of the last round alone.
    """

    name: str
    devices: int
    tries: int
    results: int
    time_s: Spread | None
    energy_j: Mean | None
    total_j: float
    down_bytes: int | None
    up_bytes: int | None
    memory: Spread | None
    macs: Spread | None
    causes: dict[str, int]
    ended: dict[str, int] = field(default_factory=dict)


class _Row(NamedTuple):
    """What is needed of a row of the table."""

    round: int
    device_class: str | None
    device: int
    cause: str | None
    outcome: str | None
    time_s: float | None
    energy_j: float | None
    down_bytes: int | None
    up_bytes: int | None
    live_memory_bytes: int | None
    memory_budget_bytes: int | None
    backward_macs: int | None
    backward_macs_budget: int | None


@dataclass
class _Tally:
    """A class's figures as they come in, round after round."""

    devices: set[int] = field(default_factory=set)
    tries: int = 0
    results: int = 0
    times: list[float] = field(default_factory=list)
    energies: dict[int, float] = field(default_factory=dict)
    down: list[int] = field(default_factory=list)
    up: list[int] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    macs: list[float] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    round: int = 0
    ended: Counter[str] = field(default_factory=Counter)

    def add(self, row: _Row) -> None:
        if row.device != UNKNOWN_DEVICE:
            self.devices.add(row.device)
        if row.round != self.round:
            self.round, self.ended = row.round, Counter()
        self.tries += 1
        self.results += not row.cause
        if row.cause:
            self.causes[row.cause] += 1
            self.ended[row.cause] += 1
        if row.time_s is not None:
            self.times.append(row.time_s)
        if row.energy_j is not None:
            self.energies[row.device] = self.energies.get(row.device, 0.0) + row.energy_j
        for sizes, size in ((self.down, row.down_bytes), (self.up, row.up_bytes)):
            if size is not None:
                sizes.append(size)
        if row.outcome in TRAINED:
            _add_share(self.memory, row.live_memory_bytes, row.memory_budget_bytes)
            _add_share(self.macs, row.backward_macs, row.backward_macs_budget)

    def happened(self, name: str) -> Happened:
        return Happened(
            name,
            len(self.devices),
            self.tries,
            self.results,
            Spread.of(self.times),
            Mean.of(list(self.energies.values())) if self.energies else None,
            sum(self.energies.values()),
            sum(self.down) if self.down else None,
            sum(self.up) if self.up else None,
            Spread.of(self.memory),
            Spread.of(self.macs),
            _ordered(self.causes),
            _ordered(self.ended),
        )


def _ordered(causes: Counter[str]) -> dict[str, int]:
    """The most frequent first."""
    return dict(sorted(causes.items(), key=lambda cause: (-cause[1], cause[0])))


def _add_share(shares: list[float], part: int | None, whole: int | None) -> None:
    if part is not None and whole:
        shares.append(part / whole)


def _rows(rounds: Iterable[Columns]) -> Iterator[_Row]:
    """Each device of each round once, by the first of the reports in its name; those of unknown devices all."""
    for columns in rounds:
        before = UNKNOWN_DEVICE
        for row in map(_Row._make, zip(*(columns[name] for name in _Row._fields), strict=True)):
            if row.device != before or row.device == UNKNOWN_DEVICE:
                yield row
            before = row.device


def happened(rounds: Iterable[Columns]) -> tuple[Happened, ...]:
    """What happened in the rounds of a run: to all devices first, then to each class in the catalogue's order."""
    tallies: dict[str, _Tally] = {}
    whole = _Tally()
    for row in _rows(rounds):
        whole.add(row)
        tallies.setdefault(row.device_class or "", _Tally()).add(row)
    order = [name for name in (*catalogue(), "") if name in tallies]
    return whole.happened(""), *(tallies[name].happened(name) for name in order)
