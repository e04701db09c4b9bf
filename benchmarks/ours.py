"""The engine's whole personalisation, its parts timed: kept features, selection, training."""

import time
from dataclasses import dataclass

import torch

from benchmarks.cases import SEED, Case
from tinytrain_core.engine.features import Shelf
from tinytrain_core.engine.finetune import finetune
from tinytrain_core.engine.support import CleanFeatures
from tinytrain_core.selection.cost import Budget, full_train_backward_macs
from tinytrain_core.selection.footprint import training_footprint
from tinytrain_core.selection.methods import Problem
from tinytrain_core.selection.methods.tinytrain import TinyTrain
from tinytrain_core.selection.plan import UpdatePlan
from tinytrain_core.selection.workload import Workload


@dataclass(frozen=True)
class Ours:
    """One run: what was chosen, the seconds of CPU that its parts took, and its losses."""

    plan: UpdatePlan
    clean_s: float
    selection_s: float
    training_s: float
    losses: list[float]

    @property
    def total_s(self) -> float:
        return self.clean_s + self.selection_s + self.training_s


def unlimited(case: Case) -> Budget:
    """A budget that takes every layer of the window, at the largest channel ratio."""
    return Budget(2**40, full_train_backward_macs(case.backbone.spec))


def window_blocks(case: Case, blocks: int) -> int:
    """The window that reaches back to the last `blocks` inverted bottlenecks: a feature mix counts as one more."""
    return blocks + int(case.backbone.spec.convs[-1].kind == "mix")


@torch.no_grad()
def personalise(case: Case, budget: Budget, blocks: int) -> Ours:
    """Kept features of the window, Fisher pass and fit, then the rest of the features and all steps."""
    settings, task = case.settings, case.task
    work = Workload(case.backbone.spec, len(task.images), task.ways, 2, settings.views, settings.precision)
    clean = CleanFeatures(case.backbone, task, Shelf(settings.precision))
    method = TinyTrain(window_blocks(case, blocks))
    problem = Problem(clean, task, budget, work)
    began = time.process_time()
    inspection = method.inspection(problem)
    if inspection is not None:
        clean.keep(inspection.start, inspection.execution)
    kept = time.process_time()
    plan = method.plan(problem)
    selected = time.process_time()
    execution = training_footprint(work, plan.extent, budget, plan.inspection).execution
    training = finetune(case.backbone, task, plan, settings, execution, SEED, clean)
    return Ours(plan, kept - began, selected - kept, time.process_time() - selected, training.losses)
