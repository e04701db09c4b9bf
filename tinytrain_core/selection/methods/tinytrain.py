"""`tinytrain`: task-adaptive sparse update (Kwon et al. 2024).

One backward pass over the support for the Fisher potential of the last blocks, the multi-objective score,
and a greedy fit under the device's memory and compute budget.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.engine.update import Update, extent_of
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.criterion import RATIO, Score, assemble, fit, halvings, scores
from tinytrain_core.selection.fisher import fisher_potential
from tinytrain_core.selection.footprint import inspection_footprint
from tinytrain_core.selection.methods.base import Method, Problem
from tinytrain_core.selection.methods.channels import Ranking, calibration, choose
from tinytrain_core.selection.plan import Decision, Inspection, Reason, UpdatePlan
from tinytrain_core.selection.workload import Workload

WINDOW_BLOCKS = 6
SELECTIONS = ("dynamic", "static")
PROTOTYPES = ("attached", "detached")


@dataclass(frozen=True)
class TinyTrain(Method):
    """The paper's method.

    Attributes:
        window_blocks: how many blocks, from the end, the Fisher pass inspects at most; 0 is all of them.
        ratio: of the output channels of a chosen layer that are updated; where they do not fit, half as many, down to
            an eighth.
        channels: which of them: those of largest Fisher potential (fisher), of largest weights (l2), or any (random).
        score: what layers are ranked by: paper, no_macs or potential (`criterion.Score`).
        selection: dynamic chooses for the task at hand; static once for all, for a task of embedded glyphs.
        prototypes: detached takes them as constants in every step, so that half of the images need no way back and the
            same compute reaches deeper.
    """

    window_blocks: int = WINDOW_BLOCKS
    ratio: float = RATIO
    channels: str = Ranking.FISHER.value
    score: str = Score.PAPER.value
    selection: str = SELECTIONS[0]
    prototypes: str = PROTOTYPES[0]
    name: ClassVar[str] = "tinytrain"
    number: ClassVar[int] = 8

    def __post_init__(self) -> None:
        known = {"channels": tuple(Ranking), "score": tuple(Score), "selection": SELECTIONS, "prototypes": PROTOTYPES}
        for option, values in known.items():
            if getattr(self, option) not in values:
                raise ConfigurationError(
                    f"{self.name}: {option} is {getattr(self, option)!r}, not {' or '.join(values)}"
                )
        if self.window_blocks < 0 or not 0 < self.ratio <= 1:
            raise ConfigurationError(f"{self.name}: a window of {self.window_blocks} blocks, a ratio of {self.ratio:g}")

    def plan(self, problem: Problem) -> UpdatePlan:
        looked_at = problem if self.selection == SELECTIONS[0] else calibration(problem)
        inspection = self.inspection(looked_at)
        if inspection is None:
            return self._nothing_fits(looked_at)
        return self._fitted(problem, looked_at, inspection)

    def _fitted(self, problem: Problem, looked_at: Problem, inspection: Inspection) -> UpdatePlan:
        work, base = self._work(problem), self._base(problem.work.spec, inspection.start)
        potential = fisher_potential(looked_at.clean, looked_at.task, inspection.start, inspection.execution)
        left = inspection if looked_at is problem else None
        scored = scores(work.spec, potential, Score(self.score))
        counts, ranked = fit(work, scored, problem.budget, left, halvings(self.ratio), extent_of(work.spec, base))
        chosen = choose(Ranking(self.channels), problem, potential, counts)
        plan = assemble(work.spec, potential, chosen, ranked, left, base=base, detached=work.detached)
        took = inspection_footprint(looked_at.work, inspection.start, problem.budget).memory_bytes
        return replace(plan, selection_bytes=took)

    def _work(self, problem: Problem) -> Workload:
        return replace(problem.work, detached=self.prototypes == PROTOTYPES[1])

    def _base(self, spec: BackboneSpec, start: int) -> dict[int, Update]:
        """What is updated whatever the potential is."""
        return {}

    def inspection(self, problem: Problem) -> Inspection | None:
        """The widest window whose Fisher pass fits the memory; None if even one block's does not."""
        every = problem.work.spec.blocks + 1
        for blocks in range(min(self.window_blocks or every, every), 0, -1):
            start = problem.work.spec.window_start(blocks)
            footprint = inspection_footprint(problem.work, start, problem.budget)
            if footprint.fits(problem.budget) and self._affords(problem, Inspection(start, footprint.execution)):
                return Inspection(start, footprint.execution)
        return None

    def _affords(self, problem: Problem, inspection: Inspection) -> bool:
        """Whether there is enough left for anything behind this inspection."""
        return True

    def _nothing_fits(self, problem: Problem) -> UpdatePlan:
        spec, budget = problem.work.spec, problem.budget
        start = spec.window_start(1)
        asked, limit = inspection_footprint(problem.work, start, budget).memory_bytes, budget.memory_bytes
        decisions = [Decision(c.name, Reason.OUTSIDE_WINDOW, 0, c.out_channels) for c in spec.convs[:start]]
        decisions += [
            Decision(c.name, Reason.OVER_MEMORY, 0, c.out_channels, 0.0, asked, limit) for c in spec.convs[start:]
        ]
        return UpdatePlan(spec, {}, tuple(decisions), needed_bytes=asked)
