"""What every method is: a name, the number that reports carry, and a plan for a problem."""

from dataclasses import dataclass
from typing import Protocol

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.selection.cost import Budget
from tinytrain_core.selection.fisher import Task
from tinytrain_core.selection.live_memory import Workload
from tinytrain_core.selection.plan import UpdatePlan


@dataclass(frozen=True)
class Problem:
    """What a method plans for: a backbone, a task, a budget, and the step's workload."""

    backbone: Backbone
    task: Task
    budget: Budget
    work: Workload


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
