"""Table 2: memory and compute of a backward pass, for every method and backbone, beside the paper's figures.

By the paper's own accounting, and by the ledger of what the engine really has alive. Pure but for the selection that
TinyTrain's rows are of.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from statistics import fmean

from simulations.studies import published
from simulations.studies.arms import TINYTRAIN
from simulations.studies.planning import ONE_ALIVE, Planned, problem_of
from simulations.studies.text import MILLION
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.engine.execution import Execution
from tinytrain_core.engine.features import Place
from tinytrain_core.engine.update import NOTHING, Extent
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.selection import cost, paper_ledger
from tinytrain_core.selection.cost import MIB, study_budget
from tinytrain_core.selection.live_memory import judging_bytes
from tinytrain_core.selection.methods import method_by_name
from tinytrain_core.selection.methods.sparse_update import published_schemes
from tinytrain_core.selection.workload import Workload

FORWARD = "forward"
SPARSE_UPDATE = "sparse_update"
METHODS = (
    "full_train",
    "last_layer",
    "tinytl",
    "adapter_drop:share=25",
    "adapter_drop:share=50",
    "adapter_drop:share=75",
    SPARSE_UPDATE,
    TINYTRAIN,
)
BY_SAVED_ACTIVATIONS = ("tinytl", "adapter_drop")


@dataclass(frozen=True)
class Span:
    """A mean over tasks and the least and the most of them; all the same where the task does not matter."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Span":
        return cls(fmean(values), min(values), max(values))


@dataclass(frozen=True)
class Figure:
    """One figure of ours, and the paper's where it has one."""

    ours: Span
    paper: Decimal | None = None

    @property
    def residual(self) -> float | None:
        """Ours less the paper's, over the paper's."""
        return None if self.paper is None else self.ours.mean / float(self.paper) - 1

    @property
    def exact(self) -> bool:
        """Whether ours, rounded to as many digits, is the paper's."""
        if self.paper is None:
            return False
        return Decimal(self.ours.mean).quantize(self.paper, ROUND_HALF_UP) == self.paper


@dataclass(frozen=True)
class Row:
    """One method on one backbone.

    Attributes:
        memory_mib, backward_mmacs: by the paper's accounting; of `FORWARD` the forward pass.
        batch: images that the memory is charged for.
        saving_mib: with what a backward pass of as many images reads as well.
        strict_mmacs: with every dL/dx that an update needs, and no other.
        weights: updated, without biases.
        one_alive_mib, all_alive_mib: live in the engine's own passes, one image at a time or all at once.
    """

    backbone: str
    architecture: str
    method: str
    memory_mib: Figure
    backward_mmacs: Figure
    batch: int
    saving_mib: Span
    strict_mmacs: Span
    weights: Span
    one_alive_mib: Span
    all_alive_mib: Span


def methods_of(spec: BackboneSpec) -> tuple[str, ...]:
    """The methods that there is a row of: SparseUpdate needs a published scheme."""
    return tuple(method for method in METHODS if method != SPARSE_UPDATE or spec.name in published_schemes())


def charged_batch(method: str) -> int:
    """How many images the paper charges a method's memory for."""
    return paper_ledger.BATCH if method.partition(":")[0] in ("full_train", *BY_SAVED_ACTIVATIONS) else 1


def _paper_bytes(method: str, spec: BackboneSpec, extent: Extent) -> int:
    name, batch = method.partition(":")[0], charged_batch(method)
    if name == "full_train":
        return paper_ledger.full_train_memory_bytes(spec, batch)
    if name in BY_SAVED_ACTIVATIONS:
        return paper_ledger.saving_memory_bytes(spec, extent, batch)
    return cost.paper_memory_bytes(spec, extent, batch)


def _paper_macs(method: str, spec: BackboneSpec, extent: Extent) -> int:
    if method == "full_train":
        return cost.full_train_backward_macs(spec)
    return (paper_ledger.sparse_update_macs if method == SPARSE_UPDATE else cost.backward_macs)(spec, extent)


def _method_row(backbone: str, spec: BackboneSpec, method: str, plans: Sequence[Planned]) -> Row:
    printed, batch = published.cost(spec.name, method), charged_batch(method)
    mib, mmacs = (printed.memory_mib, printed.backward_mmacs) if printed else (None, None)

    def span(of: Callable[[Extent], float], unit: int = 1) -> Span:
        return Span.of([of(planned.plan.extent) / unit for planned in plans])

    return Row(
        backbone=backbone,
        architecture=spec.name,
        method=method,
        memory_mib=Figure(span(lambda e: _paper_bytes(method, spec, e), MIB), mib),
        backward_mmacs=Figure(span(lambda e: _paper_macs(method, spec, e), MILLION), mmacs),
        batch=batch,
        saving_mib=span(lambda e: paper_ledger.saving_memory_bytes(spec, e, batch), MIB),
        strict_mmacs=span(lambda e: cost.backward_macs(spec, e), MILLION),
        weights=span(lambda e: cost.updated_weights(spec, e)),
        one_alive_mib=Span.of([planned.least_memory_bytes / MIB for planned in plans]),
        all_alive_mib=Span.of([planned.memory_bytes / MIB for planned in plans]),
    )


def _forward_row(backbone: str, work: Workload) -> Row:
    """The backbone itself: no update, and what judging it has alive."""
    spec, together = work.spec, Execution(work.support, False, Place.MEMORY)
    peak, macs = Span.of([cost.forward_peak_bytes(spec) / MIB]), Span.of([spec.macs / MILLION])
    one, every = (Span.of([judging_bytes(work, NOTHING, way) / MIB]) for way in (ONE_ALIVE, together))
    nothing = Span.of([0.0])
    return Row(backbone, spec.name, FORWARD, Figure(peak), Figure(macs), 1, peak, nothing, nothing, one, every)


def rows(backbone: str, held: Backbone, tasks: Sequence[Episode], tell: Callable[[str], None]) -> Iterator[Row]:
    """The rows of one backbone, under the paper's budget; TinyTrain's is over all tasks, what others do is the same."""
    budget = study_budget(held.spec)
    problems = [problem_of(held, episode, budget) for episode in tasks]
    yield _forward_row(backbone, problems[0].work)
    for name in methods_of(held.spec):
        method, plans = method_by_name(name), []
        for number, problem in enumerate(problems if name == TINYTRAIN else problems[:1], 1):
            tell(f"{backbone}: {published.title(name)}, task {number}")
            plans.append(Planned.of(problem, method))
        yield _method_row(backbone, held.spec, name, plans)
