"""`none`: no adaptation; the support only makes the prototypes."""

from dataclasses import dataclass
from typing import ClassVar

from tinytrain_core.selection.methods.base import Method, Problem
from tinytrain_core.selection.plan import UpdatePlan, prescribed


@dataclass(frozen=True)
class NoAdaptation(Method):
    """The base backbone as it is."""

    name: ClassVar[str] = "none"
    number: ClassVar[int] = 1
    adapts: ClassVar[bool] = False

    def plan(self, problem: Problem) -> UpdatePlan:
        return prescribed(problem.backbone.spec, set())
