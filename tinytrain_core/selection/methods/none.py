"""`none`: no adaptation; the support only makes the prototypes."""

from tinytrain_core.selection.methods.base import Problem
from tinytrain_core.selection.plan import UpdatePlan, prescribed


class NoAdaptation:
    """The base backbone as it is."""

    name = "none"
    number = 1
    adapts = False

    def plan(self, problem: Problem) -> UpdatePlan:
        return prescribed(problem.backbone.spec, set())
