"""What every method is: a name, the number that reports carry, and a plan for a problem."""

from dataclasses import dataclass
from typing import Protocol

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine.support import CleanFeatures, Task
from tinytrain_core.selection.cost import Budget
from tinytrain_core.selection.plan import UpdatePlan
from tinytrain_core.selection.workload import Workload


@dataclass(frozen=True)
class Problem:
    """What a method plans for.

    Attributes:
        clean: features of the task's support; what a method computes of them stays known to the training.
        work: what a step works on.
    """

    clean: CleanFeatures
    task: Task
    budget: Budget
    work: Workload

    @property
    def backbone(self) -> Backbone:
        return self.clean.prefix.backbone


class Method(Protocol):
    """A way to choose what is updated."""

    @property
    def name(self) -> str: ...

    @property
    def number(self) -> int: ...

    @property
    def adapts(self) -> bool:
        """Whether the method is meant to update anything."""
        ...

    def plan(self, problem: Problem) -> UpdatePlan:
        """Choose; an empty plan means that nothing is to be, or can be, updated."""
        ...
