"""Whether a stage has passed: what its devices reported, held against the rollout's gates. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean

from server.fleet.rollout.sample import Sample, changes, gains, noisy_gains, worse
from server.fleet.rollout.spec import Gates
from tinytrain_core.statistics import Mean

LEAST_FOR_INTERVAL = 2


class Result(StrEnum):
    """What came of one gate."""

    OFF = "off"
    PASSED = "passed"
    FAILED = "failed"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Finding:
    """One gate, held against what is known.

    Attributes:
        gate: its key in the specification; figure: the name of what it looks at, and `value` that.
        bound: what it may be; None where the gate is off. count: devices that tell; needed: how many have to.
        reason: in words where it is failed or not judged; guilty: whether devices say that the release is at fault.
        stops: whether a stage in which it is not judged is one with too few reports.
    """

    gate: str
    figure: str
    value: float | None
    bound: float | None
    count: int
    needed: int
    result: Result
    reason: str = ""
    guilty: bool = True
    stops: bool = True


@dataclass(frozen=True)
class Verdict:
    """What came of a stage.

    Attributes:
        passed: it may go on. guilty: devices reported something against the release; silence alone is nothing.
    """

    passed: bool
    reason: str
    figures: Mapping[str, float | None]
    guilty: bool = False


def _finding(
    gate: str, figure: str, value: float | None, bound: float | None, told: tuple[int, int], wrong: bool
) -> Finding:
    """A gate without its words on failing; `told`: how many devices tell, and how many have to."""
    count, needed = told
    if bound is None:
        result, reason = Result.OFF, ""
    elif count < needed:
        result, reason = Result.NOT_JUDGED, f"{gate} is not judged: {count} of {needed}"
    else:
        result, reason = (Result.FAILED if wrong else Result.PASSED), ""
    return Finding(gate, figure, value, bound, count, needed, result, reason)


def _said(found: Finding, exact: str, blurred: str, cohort: int) -> Finding:
    """With the words for its failing, without a number where it is of too few devices to be shown."""
    if found.result is not Result.FAILED:
        return found
    return replace(found, reason=exact if found.count >= cohort else blurred)


def _above(value: float | None, most: float | None) -> bool:
    return value is not None and most is not None and value > most


def _below(value: float | None, least: float | None) -> bool:
    return value is not None and least is not None and value < least


def _failed(of: Sample, gates: Gates, among: int) -> Finding:
    """The share that failed among that many devices."""
    most, share = gates.max_share_failed, of.failed / among if among else None
    found = _finding(
        "max_share_failed", "share_failed", share, most, (of.counted, gates.min_reports), _above(share, most)
    )
    quiet = f", {of.silent} of them without a word of it" if of.silent else ""
    text = f"{of.failed} of {among} devices failed{quiet}; at most {most or 0:.0%} may"
    said = _said(found, text, text, 0)
    return replace(said, guilty=bool(among) and _above(of.blamed / among, most))


def _worse(of: Sample, gates: Gates) -> Finding:
    most, needed = gates.max_share_worse, gates.min_reports
    values = of.values(worse, needed)
    share = fmean(values) if values else None
    found = _finding("max_share_worse", "share_worse", share, most, (len(values), needed), _above(share, most))
    exact = f"{sum(values):.0f} of {len(values)} devices are worse; at most {most or 0:.0%} may be"
    return _said(found, exact, f"more than {most or 0:.0%} of the devices are worse", of.cohort)


def _gain(of: Sample, gates: Gates) -> Finding:
    """By exact gains; by noisy ones only where these are too few, and then it can fail and not pass."""
    least, needed = gates.min_gain_lower_bound, max(gates.min_reports, LEAST_FOR_INTERVAL)
    values = of.values(gains, needed)
    mean = Mean.of(values) if len(values) >= LEAST_FOR_INTERVAL else None
    bound = None if mean is None or mean.interval is None else mean.mean - mean.interval
    told = (len(values), needed)
    found = _finding("min_gain_lower_bound", "gain_lower_bound", bound, least, told, _below(bound, least))
    noisy = of.values(noisy_gains, needed)
    if found.result is Result.NOT_JUDGED and len(noisy) >= needed:
        return _noisy_gain(found, Mean.of(noisy), least or 0.0, of.cohort)
    exact = f"the mean gain's 95 % interval begins at {bound or 0:+.3f}; {least or 0:+.3f} is the least"
    return _said(found, exact, f"the mean gain's 95 % interval begins below {least or 0:+.3f}", of.cohort)


def _noisy_gain(found: Finding, mean: Mean, least: float, cohort: int) -> Finding:
    end = mean.mean + (mean.interval or 0.0)
    if end >= least:
        return found
    failed = replace(found, result=Result.FAILED, count=mean.count)
    exact = f"the 95 % interval of the mean of gains with noise ends at {end:+.3f}; {least:+.3f} is the least"
    return _said(failed, exact, f"the mean of gains with noise is below {least:+.3f}", cohort)


def _drop(of: Sample, gates: Gates) -> Finding:
    most, needed = gates.max_drop, gates.min_reports
    values = of.values(changes, needed)
    change, least = fmean(values) if values else None, None if most is None else -most
    found = _finding("max_drop", "mean_change", change, least, (len(values), needed), _below(change, least))
    if found.result is Result.NOT_JUDGED and not of.knows_another:
        none = "max_drop is not judged: no device has reported another release"
        return replace(found, reason=none, stops=False)
    exact = f"accuracy changed by {change or 0:+.3f} against another release; it may fall by {most or 0:g}"
    return _said(found, exact, f"accuracy fell by more than {most or 0:g} against another release", of.cohort)


def findings(of: Sample, gates: Gates) -> list[Finding]:
    """Every gate, those included that are off."""
    return [_failed(of, gates, of.counted), _worse(of, gates), _gain(of, gates), _drop(of, gates)]


def figures(of: Sample, gates: Gates) -> dict[str, float | None]:
    """The figures that gates look at; None where there are too few devices for one, or too few to show it."""
    counts: dict[str, float | None] = {"devices": of.devices, "counted": of.counted, "failed": of.failed}
    failed, *accuracies = findings(of, gates)
    shown = {each.figure: each.value if each.count >= of.cohort else None for each in accuracies}
    own = gains(of.figures)
    mean = fmean(own) if own and len(own) >= of.cohort else None
    return counts | {failed.figure: failed.value} | shown | {"mean_gain": mean}


def judge(of: Sample, gates: Gates) -> Verdict:
    """Whether devices of which nothing more is expected pass the gates."""
    shown, passes = figures(of, gates), gates.too_few == "pass"
    if of.counted < gates.min_reports:
        text = f"{of.counted} of {of.devices} devices have reported or failed; {gates.min_reports} are needed"
        return Verdict(passes, text, shown)
    found = findings(of, gates)
    if failed := [each for each in found if each.result is Result.FAILED]:
        return Verdict(False, "; ".join(each.reason for each in failed), shown, any(each.guilty for each in failed))
    unjudged = [each for each in found if each.result is Result.NOT_JUDGED]
    reasons = "; ".join(each.reason for each in unjudged)
    if any(each.stops for each in unjudged):
        return Verdict(passes, reasons, shown)
    text = f"{of.counted} of {of.devices} devices passed every gate"
    return Verdict(True, f"{text}; {reasons}" if reasons else text, shown)


def hopeless(of: Sample, gates: Gates) -> Verdict | None:
    """Why these devices cannot pass any more, whatever the rest of them report; None where they still can."""
    if of.counted < gates.min_reports:
        return None
    wrong = [each for each in (_failed(of, gates, max(of.devices, 1)),) if each.result is Result.FAILED]
    told, rest = worse(of.figures), of.devices - of.failed
    if len(told) >= gates.min_reports and _above(sum(told) / max(rest, 1), gates.max_share_worse):
        wrong.append(_worse(of, gates))
    if not wrong:
        return None
    text = "; ".join(each.reason for each in wrong)
    return Verdict(False, text, figures(of, gates), any(each.guilty for each in wrong))
