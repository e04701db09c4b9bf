"""All that is known of a rollout, as values that never change: a new state takes the place of the old one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pydantic import TypeAdapter

from server.fleet.rollout.figure import Figure
from server.fleet.rollout.spec import RolloutSpec


class Phase(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"  # no node gets an order; those that have one go on
    HALTED = "halted"  # a stage did not pass; nothing happens until the operator says what
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"  # nodes that were not online still get the roll-back order when they are
    COMPLETED = "completed"  # nodes that were not online, and new ones, still get the release
    ABORTED = "aborted"  # the operator ended it, and nodes keep what they have


ACTIVE = frozenset((Phase.RUNNING, Phase.PAUSED, Phase.HALTED, Phase.ROLLING_BACK))
FORWARD = frozenset((Phase.RUNNING, Phase.COMPLETED))
BACKWARD = frozenset((Phase.ROLLING_BACK, Phase.ROLLED_BACK))


class Step(StrEnum):
    """Where a node stands."""

    WAITING = "waiting"  # for its stage, a free place, its being online, or the end of a pause
    ORDERED = "ordered"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"


GIVEN_UP = frozenset((Step.FAILED, Step.REFUSED))
SETTLED = GIVEN_UP | {Step.DONE}


@dataclass(frozen=True)
class Progress:
    """A node in a rollout. Times are seconds since 1970 by the server's clock.

    Attributes:
        place: in the order of the nodes; stage: the first that it is in, from 0; devices: their numbers.
        attempt: the last that was ordered, 0 is none; it counts on when the node is rolled back.
        tries: orders since the release, or the roll-back, was due.
        back_from: the first attempt that orders the roll-back; 0 where none does.
        accepted: the node has said that it has the order.
        deadline_s: of the order; not_before_s: of the next one.
        note: why it waits, failed or refused, in words; refused: the code with which it refused its last order.
        late: it joined when its stage was under way, which does not wait for it.
        figures: of the release, not of the roll-back: one for each device that reported, by number.
    """

    place: str
    stage: int
    devices: tuple[int, ...]
    step: Step = Step.WAITING
    attempt: int = 0
    tries: int = 0
    back_from: int = 0
    accepted: bool = False
    deadline_s: float = 0.0
    not_before_s: float = 0.0
    note: str = ""
    refused: int = 0
    late: bool = False
    figures: tuple[Figure, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.step in SETTLED

    @property
    def owes(self) -> tuple[int, ...]:
        """The devices without a report of the release that counts."""
        told = {figure.device for figure in self.figures if not figure.transient}
        return tuple(device for device in self.devices if device not in told)


def without_devices(node: Progress, devices: Collection[int]) -> Progress:
    """What a node that was taken out leaves behind: its reports, less those of these devices."""
    kept = tuple(figure for figure in node.figures if figure.device not in devices and not figure.transient)
    return replace(node, devices=tuple(figure.device for figure in kept), figures=kept)


@dataclass(frozen=True)
class Decision:
    """What was decided about a rollout, why, and the figures that it was decided on."""

    what: str
    reason: str
    figures: Mapping[str, float | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class RolloutState:
    """A rollout.

    Attributes:
        number: the rollout's, which orders and reports carry; 0 until it is stored.
        version, digest: of the release.
        back_to: the version that a roll-back returns to; None where it cannot be rolled back.
        cuts: where each stage ends; sizes: the nodes of each stage when the rollout began.
        stage: the one that is under way, from 0; began_s: since when; ripe_s: since when all its nodes have ended.
        paused_s: since when it is paused; dark_s: since when nobody at all can be reached, and no time passes.
        reason: of the last change of phase.
        filed: the registry knows of the end: that the release is withdrawn, or promoted.
        blocked: why what is due cannot be sent now, as when a roll-back order has expired.
        cohort: accuracies of fewer devices are not shown.
        removed: nodes with reports that the operator has taken out since.
        nodes: those of the target by name. It is never changed in place.
    """

    spec: RolloutSpec
    version: int
    digest: str
    cuts: tuple[str, ...]
    number: int = 0
    back_to: int | None = None
    phase: Phase = Phase.RUNNING
    stage: int = 0
    began_s: float = 0.0
    ripe_s: float | None = None
    paused_s: float | None = None
    dark_s: float | None = None
    reason: str = ""
    filed: bool = False
    blocked: str = ""
    sizes: tuple[int, ...] = ()
    cohort: int = 0
    removed: tuple[Progress, ...] = ()
    nodes: Mapping[str, Progress] = field(default_factory=dict)

    @property
    def adds_nobody(self) -> bool:
        """Whether the stage under way had no node from the start."""
        return bool(self.sizes) and not self.sizes[self.stage]

    @property
    def title(self) -> str:
        """The stage under way, in words."""
        return f"stage {self.stage + 1} of {len(self.spec.stages)} ({self.spec.stages[self.stage].title})"

    def orders(self, node: Progress) -> bool:
        """Whether a node that waits is due to get the order that is now given, the release or the roll-back."""
        if self.phase in BACKWARD:
            return node.back_from > 0
        return self.phase in FORWARD and node.stage <= self.stage

    @property
    def sends(self) -> bool:
        """Whether it goes on, or somebody has yet to get or accept an order."""
        return self.phase is Phase.RUNNING or any(
            not node.accepted and node.step not in SETTLED and self.orders(node) for node in self.nodes.values()
        )


_STATE: TypeAdapter[RolloutState] = TypeAdapter(RolloutState)
_PROGRESS: TypeAdapter[Progress] = TypeAdapter(Progress)


def state_to_json(state: RolloutState) -> str:
    """The state without its nodes."""
    return _STATE.dump_json(state, exclude={"nodes"}).decode()


def progress_to_json(node: Progress) -> str:
    """A node."""
    return _PROGRESS.dump_json(node).decode()


def state_from_json(text: str) -> RolloutState:
    """What `state_to_json` wrote.

    Raises:
        pydantic.ValidationError: it did not.
    """
    return _STATE.validate_json(text)


def progress_from_json(text: str) -> Progress:
    """What `progress_to_json` wrote.

    Raises:
        pydantic.ValidationError: it did not.
    """
    return _PROGRESS.validate_json(text)
