"""Each run against the first: the same devices of both where they are the same, else all of either."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from simulations.comparing.compared import Compared
from simulations.comparing.settings import why_unpaired
from simulations.reporting.summary import WHOLE_FLEET, class_title
from simulations.results.inference import DIGITS, holm, independent, signed_rank_p
from tinytrain_core.report import PersonalisationReport
from tinytrain_core.statistics import Paired, paired

Quantity = Callable[[PersonalisationReport], float]
QUANTITIES: dict[str, Quantity] = {
    "accuracy after": lambda report: report.accuracy_after,
    "gain": lambda report: round(report.accuracy_after - report.accuracy_before, DIGITS),
}
BY_CLASS = "accuracy after"


@dataclass(frozen=True)
class Difference:
    """A run less the first one, in one quantity, over the devices of a class or all.

    Attributes:
        profile: the class's number in the catalogue; None for all devices.
        found: the mean difference, half its 95 % interval, its p value (paired t test or Welch's), and of how many.
        rank_p: of Wilcoxon's signed-rank test; None where devices are not paired.
        holm_p: `found`'s p value adjusted for the others of its family.
    """

    run: str
    quantity: str
    profile: int | None
    title: str
    found: Paired
    rank_p: float | None
    holm_p: float | None = None


def _pair(
    first: Compared, other: Compared, quantity: Quantity, profile: int | None
) -> tuple[Paired, float | None] | None:
    """The same devices of both runs, which are of one class in either."""
    ours, theirs = other.by_device, first.by_device
    both = sorted(d for d in ours.keys() & theirs.keys() if profile is None or theirs[d].profile == profile)
    if not both:
        return None
    values, others = ([quantity(reports[d]) for d in both] for reports in (ours, theirs))
    return paired(values, others), signed_rank_p([a - b for a, b in zip(values, others, strict=True)])


def _apart(
    first: Compared, other: Compared, quantity: Quantity, profile: int | None
) -> tuple[Paired, float | None] | None:
    """All devices of either run."""
    values, others = (
        [quantity(r) for r in run.by_device.values() if profile is None or r.profile == profile]
        for run in (other, first)
    )
    return (independent(values, others), None) if values and others else None


def _difference(first: Compared, other: Compared, quantity: str, profile: int | None) -> Difference | None:
    compare = _apart if why_unpaired(first, other) else _pair
    found = compare(first, other, QUANTITIES[quantity], profile)
    title = WHOLE_FLEET if profile is None else class_title(profile)
    return None if found is None else Difference(other.name, quantity, profile, title, *found)


def _adjusted(family: Sequence[Difference]) -> list[Difference]:
    values = holm([difference.found.p_value for difference in family])
    return [replace(difference, holm_p=p) for difference, p in zip(family, values, strict=True)]


def differences(compared: Sequence[Compared]) -> list[Difference]:
    """Each run against the first: all devices in every quantity, then each class in accuracy.

    A family of tests that Holm's adjustment is for is all runs in one quantity over all devices; over the classes, all
    runs and classes.
    """
    first, *others = compared
    profiles = sorted({report.profile for report in first.by_device.values()})

    def family(quantity: str, numbers: Sequence[int | None]) -> list[Difference]:
        found = [_difference(first, other, quantity, number) for number in numbers for other in others]
        return _adjusted([difference for difference in found if difference is not None])

    return [d for quantity in QUANTITIES for d in family(quantity, [None])] + family(BY_CLASS, profiles)
