"""What every method is: a name, the number that reports carry, and a plan for a problem."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

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
        seed: of what a method draws.
    """

    clean: CleanFeatures
    task: Task
    budget: Budget
    work: Workload
    seed: int = 0

    @property
    def backbone(self) -> Backbone:
        return self.clean.prefix.backbone


class Method(Protocol):
    """A way to choose what is updated: to be subclassed, with its options as the fields of a frozen dataclass.

    Attributes:
        name: of [a-z0-9_], by which it is asked for.
        number: that reports carry; 50 to 99 are for methods from outside this package.
        adapts: whether it is meant to update anything.
        transductive: whether it learns from the images that are to be classified as well, without their labels.
    """

    name: ClassVar[str]
    number: ClassVar[int]
    adapts: ClassVar[bool] = True
    transductive: ClassVar[bool] = False

    def plan(self, problem: Problem) -> UpdatePlan:
        """Choose; an empty plan means that nothing is to be, or can be, updated."""
        ...
