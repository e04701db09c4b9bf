"""`full_train`: every weight of the backbone."""

from tinytrain_core.selection.methods.base import Problem
from tinytrain_core.selection.plan import UpdatePlan, prescribed


class FullTrain:
    """The paper's FullTrain baseline."""

    name = "full_train"
    number = 3
    adapts = True

    def plan(self, problem: Problem) -> UpdatePlan:
        spec = problem.backbone.spec
        return prescribed(spec, {conv.index for conv in spec.convs})
