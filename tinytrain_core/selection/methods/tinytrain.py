"""`tinytrain`: task-adaptive sparse update (Kwon et al. 2024).

One backward pass over the support for the Fisher potential of the last blocks, the multi-objective score,
and a greedy fit under the device's memory and compute budget.
"""

from dataclasses import dataclass

from tinytrain_core.selection.criterion import assemble, fit, scores
from tinytrain_core.selection.fisher import fisher_potential
from tinytrain_core.selection.footprint import inspection_footprint
from tinytrain_core.selection.methods.base import Problem
from tinytrain_core.selection.plan import Decision, Inspection, Reason, UpdatePlan

WINDOW_BLOCKS = 6


@dataclass(frozen=True)
class TinyTrain:
    """The paper's method.

    Attributes:
        window_blocks: how many blocks, from the end, the Fisher pass inspects at most.
    """

    window_blocks: int = WINDOW_BLOCKS
    name = "tinytrain"
    number = 8
    adapts = True

    def plan(self, problem: Problem) -> UpdatePlan:
        work, budget = problem.work, problem.budget
        inspection = self.inspection(problem)
        if inspection is None:
            return self._nothing_fits(problem)
        potential = fisher_potential(problem.clean, problem.task, inspection.start, inspection.execution)
        counts, ranked = fit(work, scores(work.spec, potential), budget, inspection)
        return assemble(work.spec, potential, counts, ranked, inspection)

    def inspection(self, problem: Problem) -> Inspection | None:
        """The widest window whose Fisher pass fits the memory; None if even one block's does not."""
        for blocks in range(self.window_blocks, 0, -1):
            start = problem.work.spec.window_start(blocks)
            footprint = inspection_footprint(problem.work, start, problem.budget)
            if footprint.fits(problem.budget):
                return Inspection(start, footprint.execution)
        return None

    def _nothing_fits(self, problem: Problem) -> UpdatePlan:
        spec, budget = problem.work.spec, problem.budget
        start = spec.window_start(1)
        asked, limit = inspection_footprint(problem.work, start, budget).memory_bytes, budget.memory_bytes
        decisions = [Decision(c.name, Reason.OUTSIDE_WINDOW, 0, c.out_channels) for c in spec.convs[:start]]
        decisions += [
            Decision(c.name, Reason.OVER_MEMORY, 0, c.out_channels, 0.0, asked, limit) for c in spec.convs[start:]
        ]
        return UpdatePlan(spec, {}, tuple(decisions), needed_bytes=asked)
