"""An update plan: which output channels of which convolutions are updated, and why the others are not."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec
from tinytrain_core.engine.execution import Execution
from tinytrain_core.engine.update import Extent, Update, every_output, extent_of
from tinytrain_core.errors import BackboneError


class Reason(Enum):
    """Why a convolution is in the plan or not."""

    TAKEN = "taken"
    METHOD = "as the method prescribes"
    SOME_INPUTS = "weights from some input channels, as the method prescribes"
    BIASES = "biases only, as the method prescribes"
    WAY_BACK = "biases only, on the way back"
    OUTSIDE_WINDOW = "outside the inspection window"
    NO_POTENTIAL = "no Fisher potential"
    OVER_MEMORY = "over the memory budget"
    OVER_COMPUTE = "over the compute budget"


@dataclass(frozen=True)
class Decision:
    """What was decided for one convolution.

    Attributes:
        channels: how many output channels are updated, of `of_channels`.
        score: the multi-objective score it was ranked by; 0 where it was not ranked.
        asked, limit: for what is over a budget, what its smallest ratio would have brought the plan to.
    """

    name: str
    reason: Reason
    channels: int
    of_channels: int
    score: float = 0.0
    asked: int = 0
    limit: int = 0

    def explain(self) -> str:
        """One line for a person."""
        share = f"{self.channels:4d} of {self.of_channels:4d} channels"
        if self.reason in (Reason.OVER_MEMORY, Reason.OVER_COMPUTE):
            unit = "B" if self.reason is Reason.OVER_MEMORY else "MACs"
            return f"{self.name:13s} {share}  {self.reason.value}: {self.asked:,} of {self.limit:,} {unit}"
        return f"{self.name:13s} {share}  {self.reason.value}" + (f", score {self.score:.3g}" if self.score else "")


@dataclass(frozen=True)
class Inspection:
    """A Fisher pass: the first convolution that it looked at, and how it was executed."""

    start: int
    execution: Execution


@dataclass(frozen=True)
class UpdatePlan:
    """The chosen channels.

    Attributes:
        updates: what is updated of each convolution, by its index.
        decisions: one for each convolution of the backbone, in order.
        inspection: the Fisher pass that it comes from; None where there was none.
        needed_bytes, needed_macs: where nothing fits, the least live memory, or the least backward MACs, that
            any layer would have needed.
        selection_bytes: live memory that choosing took.
        adapters: blocks with a lite residual beside them, none before the earliest updated convolution.
        detached: whether steps take the prototypes as constants, so that the clean support needs no way back.
    """

    spec: BackboneSpec
    updates: Mapping[int, Update]
    decisions: tuple[Decision, ...] = field(default=())
    inspection: Inspection | None = None
    needed_bytes: int = 0
    needed_macs: int = 0
    selection_bytes: int = 0
    adapters: tuple[int, ...] = ()
    detached: bool = False

    @property
    def extent(self) -> Extent:
        """How much is updated, as the ledger takes it."""
        return extent_of(self.spec, self.updates, self.adapters)

    @property
    def first(self) -> int:
        """The earliest updated convolution; the plan must not be empty."""
        return min(self.updates)

    @property
    def tail_start(self) -> int:
        """Where the block of the earliest updated convolution starts: what lies before is frozen prefix."""
        return self.spec.block_start(self.first)

    def check(self, spec: BackboneSpec) -> None:
        """Make sure that the plan can be trained on an architecture.

        Raises:
            BackboneError: it is empty, of another architecture, or names what is not there.
        """
        convs = spec.convs
        if self.spec.name != spec.name:
            raise BackboneError(f"a plan for {self.spec.name} cannot be trained on {spec.name}")
        if not self.updates or not 0 <= min(self.updates) <= max(self.updates) < len(convs):
            raise BackboneError(f"a plan of convolutions {sorted(self.updates)}; {spec.name} has {len(convs)}")
        for index, update in self.updates.items():
            update.check(convs[index])
        reached = {conv.block for conv in convs[self.first :] if conv.closes_block}
        blocks = {conv.block for conv in convs if conv.opens_block} & reached
        if not set(self.adapters) <= blocks:
            raise BackboneError(f"a plan of branches beside blocks {self.adapters}; it reaches {sorted(blocks)}")

    def refused(self, asked: int, limit: int) -> "UpdatePlan":
        """The empty plan that is left where this one needs `asked` bytes of a memory of `limit`."""
        over = {"reason": Reason.OVER_MEMORY, "channels": 0, "asked": asked, "limit": limit}
        decisions = tuple(replace(d, **over) if d.channels else d for d in self.decisions)  # type: ignore[arg-type]
        return UpdatePlan(
            self.spec, {}, decisions, self.inspection, needed_bytes=asked, selection_bytes=self.selection_bytes
        )

    def explain(self) -> str:
        """A line for each convolution, for a person."""
        return "\n".join(decision.explain() for decision in self.decisions)


def prescribed(spec: BackboneSpec, indices: set[int]) -> UpdatePlan:
    """The plan of a method that updates all channels of given convolutions, whatever the task."""
    return as_prescribed(spec, {index: Update(every_output(spec.convs[index])) for index in sorted(indices)})


def as_prescribed(spec: BackboneSpec, updates: Mapping[int, Update], adapters: tuple[int, ...] = ()) -> UpdatePlan:
    """The plan of a method that says what is updated, whatever the task."""
    decisions = tuple(_prescription(conv, updates.get(conv.index, Update(()))) for conv in spec.convs)
    return UpdatePlan(spec, updates, decisions, adapters=adapters)


def _prescription(conv: ConvSpec, update: Update) -> Decision:
    reason = Reason.METHOD
    if update.outputs and update.inputs is not None:
        reason = Reason.SOME_INPUTS if update.inputs else Reason.BIASES
    return Decision(conv.name, reason, len(update.outputs), conv.out_channels)
