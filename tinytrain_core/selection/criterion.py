"""TinyTrain's multi-objective score, and the greedy fit under a memory and a compute budget.

    s_i = P_i / ( |W_i| / max_l |W_l|  *  M_i / max_l M_l )

with |W_i| the parameters and M_i the MACs of convolution i, maxima over the whole backbone. Layers are
taken in descending score. A layer pays for the dL/dx chain that it opens; one that does not fit is tried
at smaller channel ratios before it is given up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec
from tinytrain_core.selection.cost import Budget, backward_macs
from tinytrain_core.selection.fisher import Potential
from tinytrain_core.selection.footprint import least_footprint
from tinytrain_core.selection.plan import Decision, Inspection, Reason, UpdatePlan
from tinytrain_core.selection.workload import Workload

CHANNEL_RATIOS = (1 / 2, 1 / 4, 1 / 8)


@dataclass(frozen=True)
class Trial:
    """A plan's cost against a budget."""

    memory_bytes: int
    backward_macs: int
    budget: Budget

    @property
    def fits(self) -> bool:
        return self.memory_bytes <= self.budget.memory_bytes and self.backward_macs <= self.budget.backward_macs

    def decision(self, conv: ConvSpec, channels: int, score: float) -> Decision:
        """The decision on a convolution that follows from trying to add `channels` of it."""
        if self.fits:
            return Decision(conv.name, Reason.TAKEN, channels, conv.out_channels, score)
        if self.memory_bytes > self.budget.memory_bytes:
            reason, asked, limit = Reason.OVER_MEMORY, self.memory_bytes, self.budget.memory_bytes
        else:
            reason, asked, limit = Reason.OVER_COMPUTE, self.backward_macs, self.budget.backward_macs
        return Decision(conv.name, reason, 0, conv.out_channels, score, asked, limit)


def scores(spec: BackboneSpec, potential: Potential) -> dict[int, float]:
    """s_i of every convolution with a potential."""
    most_weights = max(conv.weights for conv in spec.convs)
    most_macs = max(conv.macs for conv in spec.convs)
    return {
        i: potential.layer(i) / (spec.convs[i].weights / most_weights * spec.convs[i].macs / most_macs)
        for i in potential.channels
    }


def rank(scored: dict[int, float]) -> list[int]:
    """Convolutions with a positive score, best first; of equals, the later one."""
    return sorted((i for i, s in scored.items() if s > 0), key=lambda i: (-scored[i], -i))


def try_plan(work: Workload, counts: dict[int, int], budget: Budget, inspection: Inspection | None) -> Trial:
    """What updating `counts` channels would cost at least, one image alive at a time."""
    least = least_footprint(work, counts, budget, inspection)
    return Trial(least.memory_bytes, backward_macs(work.spec, counts), budget)


def fit(
    work: Workload,
    scored: dict[int, float],
    budget: Budget,
    inspection: Inspection | None = None,
    ratios: Sequence[float] = CHANNEL_RATIOS,
) -> tuple[dict[int, int], dict[int, Decision]]:
    """Take layers greedily; all of them at once where all fit, which is the same and cheaper to find out.

    Returns:
        Updated channels by convolution, and the decision for every ranked convolution.
    """
    convs, ranked = work.spec.convs, rank(scored)
    everything = {index: _share(convs[index], ratios[0]) for index in ranked}
    whole = try_plan(work, everything, budget, inspection)
    if everything and whole.fits:
        return everything, {i: whole.decision(convs[i], n, scored[i]) for i, n in everything.items()}
    counts: dict[int, int] = {}
    decisions: dict[int, Decision] = {}
    for index in ranked:
        for ratio in ratios:
            n = _share(convs[index], ratio)
            trial = try_plan(work, counts | {index: n}, budget, inspection)
            decisions[index] = trial.decision(convs[index], n, scored[index])
            if trial.fits:
                counts[index] = n
                break
    return counts, decisions


def _share(conv: ConvSpec, ratio: float) -> int:
    return max(1, round(ratio * conv.out_channels))


def best_channels(potential: Potential, counts: dict[int, int]) -> dict[int, tuple[int, ...]]:
    """The channels of largest Delta_o in each chosen convolution, ascending."""
    return {
        i: tuple(sorted(potential.channels[i].argsort(descending=True, stable=True)[:n].tolist()))
        for i, n in sorted(counts.items())
    }


def assemble(
    spec: BackboneSpec,
    potential: Potential,
    counts: dict[int, int],
    ranked: dict[int, Decision],
    inspection: Inspection,
) -> UpdatePlan:
    """The plan, with a decision for every convolution of the backbone."""
    decisions = []
    for conv in spec.convs:
        outside = Reason.OUTSIDE_WINDOW if conv.index < potential.start else Reason.NO_POTENTIAL
        decisions.append(ranked.get(conv.index) or Decision(conv.name, outside, 0, conv.out_channels))
    chosen = best_channels(potential, counts)
    if chosen:
        return UpdatePlan(spec, chosen, tuple(decisions), inspection)
    needed_bytes, needed_macs = (_least_asked(decisions, r) for r in (Reason.OVER_MEMORY, Reason.OVER_COMPUTE))
    return UpdatePlan(spec, {}, tuple(decisions), inspection, needed_bytes, needed_macs)


def _least_asked(decisions: Sequence[Decision], reason: Reason) -> int:
    """The least that a layer refused for that reason would have brought the plan to; 0 where there is none."""
    return min((decision.asked for decision in decisions if decision.reason is reason), default=0)
