"""`full_train`: every weight of the backbone."""

from dataclasses import dataclass
from typing import ClassVar

from tinytrain_core.selection.methods.base import Method, Problem
from tinytrain_core.selection.plan import UpdatePlan, prescribed


@dataclass(frozen=True)
class FullTrain(Method):
    """The paper's FullTrain baseline."""

    name: ClassVar[str] = "full_train"
    number: ClassVar[int] = 3

    def plan(self, problem: Problem) -> UpdatePlan:
        spec = problem.backbone.spec
        return prescribed(spec, {conv.index for conv in spec.convs})
