"""Stored reports to figures of groups of devices, none of which is about too few of them.

A device is one sample: in each group the last of its reports counts, however often it was asked. A cohort is counted in
nodes: the devices of a gateway belong to one owner, so that figures of them alone, however many they are, would be that
owner's. A group with devices of fewer than `minimum_cohort` nodes, and so of fewer devices too, shows that it is there
and nothing else, and so does a figure to which devices of fewer nodes of a larger group contribute. The total is over
what is shown, so that nothing hidden follows by subtraction; where a device is in several groups there is none, as the
difference would be the figures of the others.

Whether adapting helped follows from a device's images. So `adapted` and `kept base` are told apart, and the share that
got worse is shown, only where either is told of as many nodes; else they are one count, also where one of them is 0,
which would tell it of all. Failures and their codes are counted down to one device: operators need them to mend it.

That holds for one report. Whoever asks twice, with other groups or other filters, can still subtract one answer from
the other: the cohort guards what is published, not against someone with the database. Noise does.

Accuracies with noise are figures of their own, beside those without: together they would bury what the others say. Of
them there is a mean, whose interval tells what the noise costs, and no quantile or share, which noise would decide.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from server.fleet.reports.rows import By, StoredReport, error_name, outcome_name
from tinytrain_core.report import Outcome, PersonalisationReport
from tinytrain_core.statistics import Mean, quantile

SHARES = (0.1, 0.5, 0.9)  # of devices below the three quantiles
QUANTILE_DEVICES = 10  # with fewer, the outer quantiles would be the least and the greatest
EITHER = f"{outcome_name(Outcome.ADAPTED)} or {outcome_name(Outcome.KEPT_BASE)}"
Key = tuple[int | str, ...]
Quantify = Callable[[PersonalisationReport], float | None]
_KEYS: Mapping[By, Callable[[StoredReport], int | str]] = {
    By.RELEASE: lambda stored: stored.release,
    By.CLASS: lambda stored: stored.device_class,
    By.DAY: lambda stored: stored.day,
    By.ROLLOUT: lambda stored: stored.rollout,
}


def _measured_share(report: PersonalisationReport) -> float | None:
    both = report.measured_memory_bytes and report.live_memory_bytes and report.outcome != Outcome.CANNOT_AFFORD
    return report.measured_memory_bytes / report.live_memory_bytes if both else None


def _budget_share(report: PersonalisationReport) -> float | None:
    spent = report.live_memory_bytes and report.memory_budget_bytes and report.outcome != Outcome.CANNOT_AFFORD
    return report.live_memory_bytes / report.memory_budget_bytes if spent else None


def _accuracy(noisy: bool, of: Callable[[PersonalisationReport], float | None]) -> Quantify:
    """A figure of the devices whose accuracies have noise, or of those whose have none."""
    return lambda report: (
        of(report) if report.has_accuracies and noisy == (report.outcome == Outcome.WITHHELD) else None
    )


NOISY = "noisy_"  # what the names of figures with noise begin with
_ACCURACIES: Mapping[str, Quantify] = {
    "accuracy_before": lambda report: report.accuracy_before,
    "accuracy_after": lambda report: report.accuracy_after,
    "gain": lambda report: report.gain,
}
QUANTITIES: Mapping[str, Quantify] = {
    **{what: _accuracy(False, of) for what, of in _ACCURACIES.items()},
    "worse": lambda report: None if report.worse is None else float(report.worse),
    "wall_s": lambda report: report.wall_s or None,
    "measured_memory_share": _measured_share,
    "memory_budget_share": _budget_share,
    **{NOISY + what: _accuracy(True, of) for what, of in _ACCURACIES.items()},
}
_PLACES = {what: place for place, what in enumerate(QUANTITIES)}
_NOTHING: tuple[float | None, ...] = (None,) * len(QUANTITIES)


@dataclass(frozen=True)
class Quantity:
    """One figure of the devices of a group that have it.

    Attributes:
        interval: half the 95 % interval of the mean.
        quantiles: below which 10, 50 and 90 % of the devices lie; None for fewer than ten, and with noise.
        devices: that have it.
    """

    mean: float
    interval: float | None
    quantiles: tuple[float, ...] | None
    devices: int


def _quantity(what: str, values: Sequence[float]) -> Quantity | None:
    if not values:
        return None
    mean, enough = Mean.of(values), len(values) >= QUANTILE_DEVICES and not what.startswith(NOISY)
    quantiles = tuple(quantile(values, share) for share in SHARES) if enough else None
    return Quantity(mean.mean, mean.interval, quantiles, mean.count)


@dataclass(frozen=True)
class Figures:
    """What the devices of a group reported.

    Attributes:
        reports: that arrived, of which one of each device counts.
        outcomes, errors: devices by the outcome, and failed ones by the error, in words.
        failed_share: of the devices.
        quantities: by their name in QUANTITIES, over the devices that did not fail; None where too few have it.
    """

    devices: int
    nodes: int
    reports: int
    outcomes: Mapping[str, int]
    errors: Mapping[str, int]
    failed_share: float
    quantities: Mapping[str, Quantity | None]


class _Sample(NamedTuple):
    """What counts of a device: there are as many as devices, or as devices and days, so it is small."""

    node: str
    outcome: int
    error: int
    quantities: tuple[float | None, ...]  # as QUANTITIES; none of a device that failed


def _sample(stored: StoredReport) -> _Sample:
    report = stored.report
    done = report.outcome != Outcome.FAILED
    quantities = tuple(of(report) for of in QUANTITIES.values()) if done else _NOTHING
    return _Sample(stored.node, report.outcome, report.error, quantities)


@dataclass
class _Cohort:
    """The reports of one group."""

    latest: dict[int | str, _Sample] = field(default_factory=dict)
    reports: int = 0

    def add(self, stored: StoredReport) -> None:
        self.latest[stored.unit] = _sample(stored)
        self.reports += stored.reports

    @property
    def nodes(self) -> set[str]:
        return {sample.node for sample in self.latest.values()}

    def tells_apart(self, minimum: int) -> bool:
        """Whether enough nodes have devices that use what they adapted, and enough have some that do not."""
        found = {(sample.outcome, sample.node) for sample in self.latest.values()}
        nodes = Counter(outcome for outcome, _ in found)
        return min(nodes[Outcome.ADAPTED], nodes[Outcome.KEPT_BASE]) >= minimum

    def outcomes(self, minimum: int) -> Counter[str]:
        """Devices by outcome."""
        one = () if self.tells_apart(minimum) else (Outcome.ADAPTED, Outcome.KEPT_BASE)
        codes = sorted(sample.outcome for sample in self.latest.values())
        return Counter(EITHER if code in one else outcome_name(code) for code in codes)

    def values(self, what: str, minimum: int) -> list[float]:
        """A quantity of each device that has it and did not fail; none where too few have it."""
        if what == "worse" and not self.tells_apart(minimum):
            return []
        place = _PLACES[what]
        found = [(s.node, value) for s in self.latest.values() if (value := s.quantities[place]) is not None]
        return [value for _, value in found] if len({node for node, _ in found}) >= minimum else []


def _figures(cohorts: Sequence[_Cohort], minimum: int) -> Figures:
    """Of cohorts without a common device, each large enough."""
    latest = [sample for cohort in cohorts for sample in cohort.latest.values()]
    errors = Counter(sample.error for sample in latest if sample.outcome == Outcome.FAILED)
    outcomes = sum((cohort.outcomes(minimum) for cohort in cohorts), Counter[str]())
    pooled = {what: [value for cohort in cohorts for value in cohort.values(what, minimum)] for what in QUANTITIES}
    return Figures(
        devices=len(latest),
        nodes=len(set().union(*(cohort.nodes for cohort in cohorts))),
        reports=sum(cohort.reports for cohort in cohorts),
        outcomes=outcomes,
        errors={error_name(code): count for code, count in errors.most_common()},
        failed_share=errors.total() / len(latest),
        quantities={what: _quantity(what, values) for what, values in pooled.items()},
    )


@dataclass(frozen=True)
class Group:
    """The devices with one key; `figures` is None where their nodes are too few."""

    key: Key
    figures: Figures | None


@dataclass(frozen=True)
class FleetFigures:
    """The groups in the order of their keys.

    Attributes:
        total: over the groups that are shown; None where there are fewer than two, or a device is in several.
    """

    by: tuple[By, ...]
    minimum_cohort: int
    groups: tuple[Group, ...]
    total: Figures | None

    @property
    def shown(self) -> list[tuple[Key, Figures]]:
        """The groups with figures."""
        return [(group.key, group.figures) for group in self.groups if group.figures is not None]

    @property
    def hidden(self) -> list[Key]:
        """The keys of the groups that are too small."""
        return [group.key for group in self.groups if group.figures is None]


def fleet_figures(reports: Iterable[StoredReport], by: Sequence[By], minimum_cohort: int) -> FleetFigures:
    """The figures of every group.

    Args:
        reports: those of a device in the order of their arrival; of each device in a group the last one counts.
        by: what groups them, at least one, each once.
        minimum_cohort: the fewest nodes of whose devices figures are shown.
    """
    cohorts: dict[Key, _Cohort] = {}
    for stored in reports:
        cohorts.setdefault(tuple(_KEYS[what](stored) for what in by), _Cohort()).add(stored)
    large = {key: cohort for key, cohort in sorted(cohorts.items()) if len(cohort.nodes) >= minimum_cohort}
    groups = tuple(
        Group(key, _figures([large[key]], minimum_cohort) if key in large else None) for key in sorted(cohorts)
    )
    units = list(chain.from_iterable(cohort.latest for cohort in large.values()))
    apart = len(large) > 1 and len(units) == len(set(units))
    total = _figures(list(large.values()), minimum_cohort) if apart else None
    return FleetFigures(tuple(by), minimum_cohort, groups, total)
