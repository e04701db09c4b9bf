"""Whether a stage has passed: what its devices reported, held against the rollout's gates. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from server.fleet.rollout.figure import Figure
from server.fleet.rollout.spec import Gates
from server.fleet.rollout.state import Progress, RolloutState, Step
from tinytrain_core.report import Outcome
from tinytrain_core.statistics import Mean


@dataclass(frozen=True)
class Sample:
    """What is known of some devices.

    Attributes:
        devices: all of them, less those whose error is excused.
        figures: of those that reported; silent: of nodes that refused, or failed without a report.
    """

    devices: int
    figures: tuple[Figure, ...]
    silent: int

    @property
    def counted(self) -> int:
        """Devices that have reported or failed."""
        return len(self.figures) + self.silent

    @property
    def failed(self) -> int:
        """Devices that failed, whether they said so or not."""
        return self.silent + sum(figure.outcome == Outcome.FAILED for figure in self.figures)

    @property
    def exact(self) -> list[Figure]:
        """Those with accuracies without noise."""
        return [figure for figure in self.figures if figure.exact]

    @property
    def worse(self) -> int:
        """Devices whose adapted backbone is worse."""
        return sum(figure.after < figure.before for figure in self.exact)

    @property
    def gains(self) -> list[float]:
        """Accuracy after less before."""
        return [figure.after - figure.before for figure in self.exact]

    @property
    def changes(self) -> list[float]:
        """The accuracy in use less the one under another release."""
        return [figure.in_use - figure.previous for figure in self.exact if figure.previous is not None]


def sample(nodes: Iterable[Progress], gates: Gates) -> Sample:
    """What is known of the devices of some nodes."""
    devices, silent, counted = 0, 0, []
    for node in nodes:
        told = [figure for figure in node.figures if not figure.transient]
        kept = [figure for figure in told if figure.error not in gates.excused_codes]
        devices += len(node.devices) - (len(told) - len(kept))
        silent += len(node.owes) if node.step in (Step.FAILED, Step.REFUSED) else 0
        counted.extend(kept)
    return Sample(devices, tuple(counted), silent)


def judged(state: RolloutState) -> Sample:
    """The devices that the stage under way is judged on: its own, with those before where it has too few."""
    own = [node for node in state.nodes.values() if node.stage == state.stage]
    if sum(len(node.devices) for node in own) < state.spec.gates.min_reports:
        own = [node for node in state.nodes.values() if node.stage <= state.stage]
    return sample(own, state.spec.gates)


@dataclass(frozen=True)
class Verdict:
    """What came of a stage.

    Attributes:
        passed: it may go on. enough: there were as many reports as are needed; with fewer nothing else was judged.
    """

    passed: bool
    reason: str
    figures: Mapping[str, float | None]
    enough: bool = True


def _lower_bound(values: list[float]) -> float | None:
    found = Mean.of(values) if len(values) > 1 else None
    return None if found is None or found.interval is None else found.mean - found.interval


def figures(of: Sample) -> dict[str, float | None]:
    """The figures that gates look at; None where there are too few devices for one."""
    return {
        "devices": of.devices,
        "counted": of.counted,
        "failed": of.failed,
        "share_failed": of.failed / of.counted if of.counted else None,
        "share_worse": of.worse / len(of.exact) if of.exact else None,
        "mean_gain": fmean(of.gains) if of.gains else None,
        "gain_lower_bound": _lower_bound(of.gains),
        "mean_change": fmean(of.changes) if of.changes else None,
    }


def _above(value: float | None, most: float | None) -> bool:
    return value is not None and most is not None and value > most


def _below(value: float | None, least: float | None) -> bool:
    return value is not None and least is not None and value < least


def _failures(of: Sample, gates: Gates) -> list[str]:
    """Every gate that is not passed, in words, with both numbers."""
    found = figures(of)
    wrong = []
    if _above(found["share_failed"], gates.max_share_failed):
        wrong.append(f"{of.failed} of {of.counted} devices failed; at most {gates.max_share_failed:.0%} may")
    if _above(found["share_worse"], gates.max_share_worse):
        wrong.append(f"{of.worse} of {len(of.exact)} devices are worse; at most {gates.max_share_worse:.0%} may be")
    if _below(found["gain_lower_bound"], gates.min_gain_lower_bound):
        bound, least = found["gain_lower_bound"], gates.min_gain_lower_bound
        wrong.append(f"the mean gain's 95 % interval begins at {bound:+.3f}; {least:+.3f} is the least")
    drop = None if gates.max_drop is None or len(of.changes) < gates.min_reports else -gates.max_drop
    if _below(found["mean_change"], drop):
        change = found["mean_change"]
        wrong.append(f"accuracy changed by {change:+.3f} against another release; it may fall by {gates.max_drop:g}")
    return wrong


def judge(of: Sample, gates: Gates) -> Verdict:
    """Whether devices of which nothing more is expected pass the gates."""
    found = figures(of)
    if of.counted < gates.min_reports:
        text = f"{of.counted} of {of.devices} devices have reported or failed; {gates.min_reports} are needed"
        return Verdict(gates.too_few == "pass", text, found, enough=False)
    wrong = _failures(of, gates)
    return Verdict(not wrong, "; ".join(wrong) or f"{of.counted} of {of.devices} devices passed every gate", found)


def hopeless(of: Sample, gates: Gates) -> str:
    """Why these devices cannot pass any more, whatever the rest of them report; empty where they still can."""
    if of.counted < gates.min_reports:
        return ""
    if _above(of.failed / max(of.devices, 1), gates.max_share_failed):
        return f"{of.failed} of all {of.devices} devices have failed; at most {gates.max_share_failed:.0%} may"
    rest = of.devices - of.failed
    if rest and _above(of.worse / rest, gates.max_share_worse):
        return f"{of.worse} of all {rest} devices are worse; at most {gates.max_share_worse:.0%} may be"
    return ""
