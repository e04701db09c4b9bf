"""TinyTrain's multi-objective score, and the greedy fit under a memory and a compute budget.

    s_i = P_i / ( |W_i| / max_l |W_l|  *  M_i / max_l M_l )

with |W_i| the parameters and M_i the MACs of convolution i, maxima over the whole backbone. Layers are
taken in descending score. A layer pays for the dL/dx chain that it opens; one that does not fit is tried
at smaller channel ratios before it is given up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec
from tinytrain_core.engine.update import NOTHING, Extent, Update, rows, whole
from tinytrain_core.selection.cost import Budget, paper_memory_bytes
from tinytrain_core.selection.fisher import Potential
from tinytrain_core.selection.footprint import least_footprint
from tinytrain_core.selection.plan import Decision, Inspection, Reason, UpdatePlan
from tinytrain_core.selection.workload import Workload

RATIO = 1 / 2
LEAST_RATIO = 1 / 8


def halvings(ratio: float) -> tuple[float, ...]:
    """The channel ratios to try, from `ratio` down to an eighth."""
    tried = [ratio]
    while tried[-1] / 2 >= LEAST_RATIO:
        tried.append(tried[-1] / 2)
    return tuple(tried)


CHANNEL_RATIOS = halvings(RATIO)


@dataclass(frozen=True)
class Trial:
    """A plan's cost against a budget."""

    memory_bytes: int
    backward_macs: int
    budget: Budget
    paper_bytes: int

    @property
    def over_paper(self) -> bool:
        """Whether it is over the cap in the paper's ledger."""
        return self.budget.paper_bytes is not None and self.paper_bytes > self.budget.paper_bytes

    @property
    def fits(self) -> bool:
        within = self.memory_bytes <= self.budget.memory_bytes and self.backward_macs <= self.budget.backward_macs
        return within and not self.over_paper

    def decision(self, conv: ConvSpec, channels: int, score: float) -> Decision:
        """The decision on a convolution that follows from trying to add `channels` of it."""
        if self.fits:
            return Decision(conv.name, Reason.TAKEN, channels, conv.out_channels, score)
        if self.memory_bytes > self.budget.memory_bytes:
            reason, asked, limit = Reason.OVER_MEMORY, self.memory_bytes, self.budget.memory_bytes
        elif self.over_paper and self.budget.paper_bytes is not None:
            reason, asked, limit = Reason.OVER_MEMORY, self.paper_bytes, self.budget.paper_bytes
        else:
            reason, asked, limit = Reason.OVER_COMPUTE, self.backward_macs, self.budget.backward_macs
        return Decision(conv.name, reason, 0, conv.out_channels, score, asked, limit)


class Score(StrEnum):
    """What layers are ranked by."""

    PAPER = "paper"  # potential per weight and MAC
    NO_MACS = "no_macs"  # potential per weight
    POTENTIAL = "potential"  # potential alone


def scores(spec: BackboneSpec, potential: Potential, score: Score = Score.PAPER) -> dict[int, float]:
    """s_i of every convolution with a potential."""
    most_weights = max(conv.weights for conv in spec.convs)
    most_macs = max(conv.macs for conv in spec.convs)
    found = {}
    for i in potential.channels:
        by_weights = 1.0 if score is Score.POTENTIAL else spec.convs[i].weights / most_weights
        by_macs = spec.convs[i].macs / most_macs if score is Score.PAPER else 1.0
        found[i] = potential.layer(i) / (by_weights * by_macs)
    return found


def rank(scored: dict[int, float]) -> list[int]:
    """Convolutions with a positive score, best first; of equals, the later one."""
    return sorted((i for i, s in scored.items() if s > 0), key=lambda i: (-scored[i], -i))


def try_plan(
    work: Workload, counts: dict[int, int], budget: Budget, inspection: Inspection | None, base: Extent = NOTHING
) -> Trial:
    """What updating `counts` whole output channels besides `base` would cost at least, one image alive at a time."""
    extent = Extent({**base.shares, **rows(work.spec, counts).shares})
    least = least_footprint(work, extent, budget, inspection)
    return Trial(least.memory_bytes, work.backward_macs(extent), budget, paper_memory_bytes(work.spec, extent))


def fit(
    work: Workload,
    scored: dict[int, float],
    budget: Budget,
    inspection: Inspection | None = None,
    ratios: Sequence[float] = CHANNEL_RATIOS,
    base: Extent = NOTHING,
) -> tuple[dict[int, int], dict[int, Decision]]:
    """Take layers greedily; all of them at once where all fit, which is the same and cheaper to find out.

    Args:
        base: what is updated anyway.

    Returns:
        Updated channels by convolution, and the decision for every ranked convolution.
    """
    convs, ranked = work.spec.convs, rank(scored)
    everything = {index: _share(convs[index], ratios[0]) for index in ranked}
    trial = try_plan(work, everything, budget, inspection, base)
    if everything and trial.fits:
        return everything, {i: trial.decision(convs[i], n, scored[i]) for i, n in everything.items()}
    counts: dict[int, int] = {}
    decisions: dict[int, Decision] = {}
    for index in ranked:
        for ratio in ratios:
            n = _share(convs[index], ratio)
            trial = try_plan(work, counts | {index: n}, budget, inspection, base)
            decisions[index] = trial.decision(convs[index], n, scored[index])
            if trial.fits:
                counts[index] = n
                break
    return counts, decisions


def _share(conv: ConvSpec, ratio: float) -> int:
    return max(1, round(ratio * conv.out_channels))


def best_channels(potential: Potential, counts: dict[int, int]) -> dict[int, tuple[int, ...]]:
    """The channels of largest Delta_o in each chosen convolution, ascending."""
    return {i: largest(potential.channels[i], n) for i, n in sorted(counts.items())}


def largest(values: Tensor, n: int) -> tuple[int, ...]:
    """The indices of the n largest, ascending; of equals, the earlier ones."""
    return tuple(sorted(values.argsort(descending=True, stable=True)[:n].tolist()))


def assemble(
    spec: BackboneSpec,
    potential: Potential,
    chosen: dict[int, tuple[int, ...]],
    ranked: dict[int, Decision],
    inspection: Inspection | None,
    *,
    base: Mapping[int, Update] | None = None,
    detached: bool = False,
) -> UpdatePlan:
    """The plan, with a decision for every convolution of the backbone.

    Args:
        base: what is updated of the convolutions that are not chosen.
    """
    decisions = []
    for conv in spec.convs:
        if conv.index in (base or {}) and conv.index not in chosen:
            decisions.append(Decision(conv.name, Reason.WAY_BACK, conv.out_channels, conv.out_channels))
            continue
        outside = Reason.OUTSIDE_WINDOW if conv.index < potential.start else Reason.NO_POTENTIAL
        decisions.append(ranked.get(conv.index) or Decision(conv.name, outside, 0, conv.out_channels))
    if chosen or base:
        updates = dict(sorted({**(base or {}), **whole(chosen)}.items()))
        return UpdatePlan(spec, updates, tuple(decisions), inspection, detached=detached)
    needed_bytes, needed_macs = (_least_asked(decisions, r) for r in (Reason.OVER_MEMORY, Reason.OVER_COMPUTE))
    return UpdatePlan(spec, {}, tuple(decisions), inspection, needed_bytes, needed_macs)


def _least_asked(decisions: Sequence[Decision], reason: Reason) -> int:
    """The least that a layer refused for that reason would have brought the plan to; 0 where there is none."""
    return min((decision.asked for decision in decisions if decision.reason is reason), default=0)
