"""What a method chooses for a task within a budget, and what the engine then needs; nothing is trained."""

from dataclasses import dataclass

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine.execution import Execution
from tinytrain_core.engine.features import Place, Shelf
from tinytrain_core.engine.settings import STEPS
from tinytrain_core.engine.support import CleanFeatures, Task
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.selection.cost import Budget
from tinytrain_core.selection.executed import inspection_macs, training_macs
from tinytrain_core.selection.footprint import Footprint, least_footprint, training_footprint
from tinytrain_core.selection.live_memory import selection_bytes
from tinytrain_core.selection.methods import Method, Problem
from tinytrain_core.selection.plan import UpdatePlan
from tinytrain_core.selection.workload import Workload

ONE_ALIVE = Execution(1, True, Place.NOWHERE)


def problem_of(backbone: Backbone, episode: Episode, budget: Budget) -> Problem:
    """A task as methods see it, to be trained as by default."""
    task = Task(episode.support, episode.support_labels, episode.ways)
    work = Workload(backbone.spec, len(episode.support), episode.ways)
    return Problem(CleanFeatures(backbone, task, Shelf(work.precision)), task, budget, work)


@dataclass(frozen=True)
class Planned:
    """A plan for a problem, not empty unless nothing fits, and what it takes."""

    problem: Problem
    plan: UpdatePlan

    @classmethod
    def of(cls, problem: Problem, method: Method) -> "Planned":
        return cls(problem, method.plan(problem))

    @property
    def _training(self) -> Footprint:
        return training_footprint(self.problem.work, self.plan.extent, self.problem.budget, self.plan.inspection)

    @property
    def memory_bytes(self) -> int:
        """Live bytes of the fastest way that fits, else of the leanest: of selection, of training and of judging."""
        if not self.plan.updates:
            return self.plan.needed_bytes
        return max(self.plan.selection_bytes, self._training.memory_bytes)

    @property
    def least_memory_bytes(self) -> int:
        """Live bytes with one image alive and nothing kept; the plan must not be empty."""
        work, inspection = self.problem.work, self.plan.inspection
        inspected = selection_bytes(work, inspection.start, ONE_ALIVE) if inspection else 0
        return max(inspected, least_footprint(work, self.plan.extent, self.problem.budget, None).memory_bytes)

    @property
    def execution(self) -> Execution:
        """The way that is taken to train."""
        return self._training.execution

    @property
    def fits(self) -> bool:
        """Whether there is something to train, and it fits the memory."""
        return bool(self.plan.updates) and self.memory_bytes <= self.problem.budget.memory_bytes

    def executed_macs(self, steps: int = STEPS) -> int:
        """MACs of selecting and training as they are executed; the plan must not be empty."""
        work, plan = self.problem.work, self.plan
        return inspection_macs(work, plan.inspection) + training_macs(work, plan, self.execution, steps)
