"""What came of each stage of a rehearsed rollout, out of the fleet's own database and the account of the world."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.fleet.database import Database
from server.fleet.rollout import store
from server.fleet.rollout.sample import gains, sample, worse
from server.fleet.rollout.state import Progress, RolloutState
from simulations.rehearsal.account import Account, Cost
from simulations.rehearsal.folder import partition_of
from simulations.rehearsal.rehearse import Rehearsal
from tinytrain_core.statistics import Mean

PASSED, NOT_BEGUN, OPEN, STOPPED = "passed", "not begun", "under way", "stopped"
_STOPS = ("halted", "paused", "aborted")


@dataclass(frozen=True)
class StageResult:
    """One stage. Times are virtual seconds since the rehearsal began; None is never.

    Attributes:
        reported: devices with a report that counts, failed ones included; failed: the same, and those of nodes that
            were given up; worse: devices whose adapted backbone is worse.
        result: passed, stopped, under way or not begun. verdict: what the gates said, in words, with `figures`.
        down_bytes, up_bytes, energy_j: of its nodes, in the whole rehearsal.
    """

    number: int
    title: str
    began_s: float | None
    ended_s: float | None
    nodes: int
    devices: int
    reported: int
    failed: int
    worse: int
    gain: Mean | None
    result: str
    verdict: str
    figures: Mapping[str, Any]
    down_bytes: int
    up_bytes: int
    energy_j: float


@dataclass(frozen=True)
class Decided:
    """One decision of the rollout; `at_s` is virtual seconds since the rehearsal began."""

    at_s: float
    what: str
    reason: str
    figures: Mapping[str, Any]


def decisions(rehearsal: Rehearsal) -> list[Decided]:
    """Every decision, the first first."""
    with Database(rehearsal.fleet.config.database) as database:
        found = store.decisions(database, rehearsal.rollout.number)
    return [Decided(d["at_s"] - rehearsal.began_s, d["what"], d["reason"], d["figures"]) for d in found]


@dataclass(frozen=True)
class _Course:
    """When each stage began and ended, and by which decision."""

    began_s: Sequence[float]
    ends: Sequence[Decided]

    @classmethod
    def of(cls, decided: Sequence[Decided]) -> "_Course":
        began = [d.at_s for d in decided if d.what in ("began", "stage began")]
        ends = [d for d in decided if d.what in ("stage passed", *_STOPS)]
        return cls(began, ends)

    def result(self, stage: int) -> str:
        if stage >= len(self.began_s):
            return NOT_BEGUN
        if stage >= len(self.ends):
            return OPEN
        return PASSED if self.ends[stage].what == "stage passed" else STOPPED

    def end(self, stage: int) -> Decided | None:
        return self.ends[stage] if stage < len(self.ends) else None


def _cost(account: Account, names: Sequence[str]) -> Cost:
    whole = Cost()
    for name in names:
        cost = account.nodes[partition_of(name)]
        whole.down_bytes += cost.down_bytes
        whole.up_bytes += cost.up_bytes
        whole.energy_j += cost.energy_j
    return whole


def _verdict(state: RolloutState, end: Decided | None) -> str:
    """What the gates said, without the stage's own title, which stands beside it."""
    return "" if end is None else end.reason.partition("): ")[2] or end.reason


def _stage(rehearsal: Rehearsal, number: int, course: _Course) -> StageResult:
    state = rehearsal.rollout
    own: dict[str, Progress] = {name: node for name, node in state.nodes.items() if node.stage == number}
    told = sample(own.values(), state.spec.gates)
    gained, end, cost = gains(told.figures), course.end(number), _cost(rehearsal.link.account, list(own))
    devices = sum(len(node.devices) for node in own.values())
    return StageResult(
        number=number + 1,
        title=state.spec.stages[number].title,
        began_s=course.began_s[number] if number < len(course.began_s) else None,
        ended_s=end.at_s if end else None,
        nodes=len(own),
        devices=devices,
        reported=devices - sum(len(node.owes) for node in own.values()),
        failed=told.failed,
        worse=int(sum(worse(told.figures))),
        gain=Mean.of(gained) if gained else None,
        result=course.result(number),
        verdict=_verdict(state, end),
        figures=end.figures if end else {},
        down_bytes=cost.down_bytes,
        up_bytes=cost.up_bytes,
        energy_j=cost.energy_j,
    )


def stage_results(rehearsal: Rehearsal, decided: Sequence[Decided]) -> list[StageResult]:
    """One for each stage of the rollout."""
    course = _Course.of(decided)
    return [_stage(rehearsal, number, course) for number in range(len(rehearsal.rollout.spec.stages))]


def remaining(rehearsal: Rehearsal) -> dict[str, int]:
    """Nodes of which something is still expected, or nothing any more, by where they stand and why."""
    found: dict[str, int] = {}
    for node in rehearsal.rollout.nodes.values():
        if node.owes and not (node.back_from and node.settled):
            key = f"{node.step.value}: {_kind(node.note or _silence(node, rehearsal.rollout))}"
            found[key] = found.get(key, 0) + 1
    return dict(sorted(found.items()))


def _silence(node: Progress, state: RolloutState) -> str:
    """Why nothing is known of a node, of which nothing else is said."""
    if node.attempt:
        return "no answer yet"
    return "its stage did not begin" if node.stage > state.stage else "not ordered; it was away, or its turn not come"


def _kind(note: str) -> str:
    """A note without what tells one node from another: only the first device's reason."""
    before, device, after = note.partition("device ")
    return before + after.partition(": ")[2].partition(";")[0] if device and ": " in after else note
