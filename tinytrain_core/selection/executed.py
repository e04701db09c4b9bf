"""MACs as they are executed, accuracy checks apart: what an estimate of time and energy goes by."""

from tinytrain_core.engine.execution import Execution
from tinytrain_core.engine.features import Place
from tinytrain_core.selection.cost import backward_macs, branch_macs, input_gradient_macs, weight_gradient_macs
from tinytrain_core.selection.plan import Inspection, UpdatePlan
from tinytrain_core.selection.workload import Workload


def _forward(work: Workload, start: int, stop: int) -> int:
    return sum(conv.macs for conv in work.spec.convs[start:stop])


def inspection_macs(work: Workload, inspection: Inspection | None) -> int:
    """The Fisher pass: the prefix, the window forwards once or twice, and dL/dx down to its start."""
    if inspection is None:
        return 0
    passes = 1 if inspection.execution.alive >= work.support else 2
    prefix = _forward(work, 0, inspection.start) * (passes if inspection.execution.place is Place.NOWHERE else 1)
    window = _forward(work, inspection.start, len(work.spec.convs))
    return work.support * (prefix + passes * window + input_gradient_macs(work.spec, inspection.start))


def _prefix_macs(work: Workload, plan: UpdatePlan, execution: Execution, steps: int) -> int:
    """The frozen prefix: once for each image that is kept, at every use of one that is not."""
    whole, uses = _forward(work, 0, plan.tail_start), 2 if execution.lean else 1
    if execution.place is Place.NOWHERE:
        return steps * uses * 2 * whole
    known = plan.inspection is not None and plan.inspection.execution.place is not Place.NOWHERE
    clean = _forward(work, plan.inspection.start, plan.tail_start) if known and plan.inspection else whole
    return clean + whole * (work.views or steps * uses)


def training_macs(work: Workload, plan: UpdatePlan, execution: Execution, steps: int) -> int:
    """Fine-tuning. Where chosen channels are held as differences, their share of a pass is computed once more."""
    spec, extent = work.spec, plan.extent
    passes, again = (2, 3 * weight_gradient_macs(spec, extent)) if execution.lean else (1, 0)
    tail = _forward(work, plan.tail_start, len(spec.convs)) + branch_macs(spec, extent)
    forward = work.step_images * tail + work.unlabelled * _forward(work, 0, plan.tail_start)
    backward = work.taped_images * ((passes - 1) * tail + backward_macs(spec, extent) + again)
    prefix = work.support * _prefix_macs(work, plan, execution, steps)
    return prefix + steps * (forward + backward)
