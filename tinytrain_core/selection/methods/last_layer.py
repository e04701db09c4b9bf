"""`last_layer`: the last convolution, all channels; the prototype head has no weights to train."""

from dataclasses import dataclass
from typing import ClassVar

from tinytrain_core.selection.methods.base import Method, Problem
from tinytrain_core.selection.plan import UpdatePlan, prescribed


@dataclass(frozen=True)
class LastLayer(Method):
    """The paper's LastLayer baseline."""

    name: ClassVar[str] = "last_layer"
    number: ClassVar[int] = 2

    def plan(self, problem: Problem) -> UpdatePlan:
        spec = problem.backbone.spec
        return prescribed(spec, {spec.convs[-1].index})
