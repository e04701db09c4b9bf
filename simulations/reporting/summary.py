"""Reports to figures, per device class and for the whole fleet; pure, with every statistic defined here.

A mean comes with the 95 % interval of Student's t over devices, each device being one sample. The accuracy
after personalising is that of the adapted backbone on the holdout, also where the device then kept its base
backbone: counting the better of the two on the images that chose between them would flatter the method.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from simulations.results.causes import error_name
from simulations.results.happened import UNKNOWN_DEVICE
from simulations.results.inference import wilson
from tinytrain_core.devices.profile import profile_by_number
from tinytrain_core.report import Outcome, PersonalisationReport
from tinytrain_core.statistics import WORST_SHARE, Mean, quantile, share_below, worst_decile

UNKNOWN_CLASS = "unknown class"
UNKNOWN_PROFILE = 0
WHOLE_FLEET = "whole fleet"
WORST = 1 / WORST_SHARE


@dataclass(frozen=True)
class ClassRow:
    """What the devices of one class did. Accuracies and shares lie in [0, 1].

    Attributes:
        devices: that reported; `failed` of them without a result, which the other figures leave out.
        gain: after - before on the same device, hence a paired difference.
        worse_share: devices whose adapted backbone was less accurate on the holdout than their base, and
            `worse_interval` its 95 % interval.
        worst_decile: mean gain of the tenth of the devices that gained least, and `worst_threshold` the gain below
            which a tenth of the devices are.
        updated_weights and what follows: over the devices that trained.
        memory_share: the largest share of a device's own budget that its live memory takes.
        measured_share: the largest share of its live memory that was measured in the run itself.
        backward_share: mean backward MACs of a step and image, over FullTrain's.
        estimated_s, estimated_j: mean of the whole personalisation on that device class.
    """

    profile: int
    title: str
    devices: int
    failed: int
    before: Mean | None
    after: Mean | None
    gain: Mean | None
    worse_share: float | None
    worse_interval: tuple[float, float] | None
    worst_decile: float | None
    worst_threshold: float | None
    outcomes: dict[str, int]
    updated_weights: Mean | None
    updated_layers: Mean | None
    memory_budget_bytes: int
    memory_share: float | None
    measured_share: float | None
    over_budget: int
    backward_share: float | None
    estimated_s: float | None
    estimated_j: float | None

    @property
    def cannot_afford(self) -> int:
        """Devices that no update fits."""
        return self.outcomes.get(Outcome.CANNOT_AFFORD.name.lower(), 0)


@dataclass(frozen=True)
class Summary:
    """A whole run: a row for each device class in the catalogue's order, and one for all devices."""

    rows: tuple[ClassRow, ...]
    fleet: ClassRow
    errors: dict[str, int]


def class_title(profile: int) -> str:
    """What the catalogue calls the class that a report's number means, without the particulars."""
    known = profile_by_number(profile)
    return re.split(r" \(| with |, ", known.title)[0] if known else UNKNOWN_CLASS


def latest(reports: Iterable[PersonalisationReport]) -> list[PersonalisationReport]:
    """Each device's report of its last round, by device; a device counts once, however many rounds there were.

    Device 0 is nobody known, and two reports of one number in one round are of two devices: all of them stay.
    Of the unknown, only those of the whole run's last round, because they may have a number in another.
    """
    given = list(reports)
    last: dict[int, int] = {}
    for report in given:
        last[report.device] = max(last.get(report.device, 0), report.round)
    if UNKNOWN_DEVICE in last:
        last[UNKNOWN_DEVICE] = max(last.values())
    kept = [report for report in given if report.round == last[report.device]]
    often = Counter(report.device for report in kept)
    return sorted(kept, key=lambda r: (r.device, r.model_dump_json() if often[r.device] > 1 else ""))


def evaluated(reports: Iterable[PersonalisationReport]) -> list[PersonalisationReport]:
    """The reports that have a result: all but the failures."""
    return [report for report in reports if report.outcome != Outcome.FAILED]


def trained(reports: Iterable[PersonalisationReport]) -> list[PersonalisationReport]:
    """The reports of devices that updated weights, kept or not."""
    return [report for report in reports if report.outcome in (Outcome.ADAPTED, Outcome.KEPT_BASE)]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _mean_of(values: Sequence[float]) -> Mean | None:
    """Over devices; None where there is none."""
    return Mean.of(values) if values else None


def _class_row(profile: int, title: str, reports: Sequence[PersonalisationReport]) -> ClassRow:
    done, ran = evaluated(reports), trained(reports)
    gains = [report.accuracy_after - report.accuracy_before for report in done]
    return ClassRow(
        profile=profile,
        title=title,
        devices=len(reports),
        failed=len(reports) - len(done),
        before=_mean_of([r.accuracy_before for r in done]),
        after=_mean_of([r.accuracy_after for r in done]),
        gain=_mean_of(gains),
        worse_share=share_below(gains) if gains else None,
        worse_interval=wilson(sum(gain < 0 for gain in gains), len(gains)) if gains else None,
        worst_decile=worst_decile(gains) if gains else None,
        worst_threshold=quantile(gains, WORST) if gains else None,
        outcomes=_outcomes(reports),
        updated_weights=_mean_of([r.updated_weights for r in ran]),
        updated_layers=_mean_of([r.updated_layers for r in ran]),
        memory_budget_bytes=min((r.memory_budget_bytes for r in done), default=0),
        memory_share=max((_share(r.live_memory_bytes, r.memory_budget_bytes) for r in ran), default=None),
        measured_share=max((_share(r.measured_memory_bytes, r.live_memory_bytes) for r in ran), default=None),
        over_budget=sum(r.live_memory_bytes > r.memory_budget_bytes for r in ran),
        backward_share=_mean([_share(r.backward_macs, r.full_train_backward_macs) for r in ran]),
        estimated_s=_mean([r.estimated_s for r in ran]),
        estimated_j=_mean([r.estimated_j for r in ran]),
    )


def _outcomes(reports: Sequence[PersonalisationReport]) -> dict[str, int]:
    counts = Counter(Outcome(report.outcome) for report in reports)
    return {outcome.name.lower(): counts[outcome] for outcome in Outcome if counts[outcome]}


def summarise(reports: Iterable[PersonalisationReport]) -> Summary:
    """The figures of a run, whatever the order of its reports."""
    last = latest(reports)
    by_class: dict[int, list[PersonalisationReport]] = {}
    for report in last:
        by_class.setdefault(report.profile, []).append(report)
    rows = tuple(_class_row(number, class_title(number), by_class[number]) for number in sorted(by_class))
    errors = Counter(error_name(r.error) for r in last if r.outcome == Outcome.FAILED)
    return Summary(rows, _class_row(0, WHOLE_FLEET, last), dict(sorted(errors.items())))
