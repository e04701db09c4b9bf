"""`last_layer`: the last convolution, all channels; the prototype head has no weights to train."""

from tinytrain_core.selection.methods.base import Problem
from tinytrain_core.selection.plan import UpdatePlan, prescribed


class LastLayer:
    """The paper's LastLayer baseline."""

    name = "last_layer"
    number = 2
    adapts = True

    def plan(self, problem: Problem) -> UpdatePlan:
        spec = problem.backbone.spec
        return prescribed(spec, {spec.convs[-1].index})
