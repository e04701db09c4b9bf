"""The whole path of one device as one pure call: no network, no files, no global seed."""

from dataclasses import dataclass, field

import torch

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine.delta import Delta
from tinytrain_core.engine.finetune import Training, finetune
from tinytrain_core.engine.memory import LiveBytes
from tinytrain_core.engine.settings import OPTIMISERS, TrainingSettings
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.fewshot.prototypes import accuracy
from tinytrain_core.report import Outcome, PersonalisationReport
from tinytrain_core.selection import cost
from tinytrain_core.selection.cost import Budget
from tinytrain_core.selection.fisher import Task
from tinytrain_core.selection.live_memory import Workload, fast_step_bytes, selection_bytes, stream_step_bytes
from tinytrain_core.selection.methods import Method, Problem, method_by_name
from tinytrain_core.selection.plan import UpdatePlan

ALIVE_AT_ONCE = (16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Personalisation:
    """What became of a task.

    Attributes:
        delta: the updated slices; None unless the outcome is ADAPTED.
    """

    report: PersonalisationReport
    plan: UpdatePlan
    delta: Delta | None = field(repr=False, default=None)


@dataclass(frozen=True)
class _Footprint:
    """The mode that a plan is trained in, and its predicted bytes."""

    alive: int
    live_bytes: int

    @staticmethod
    def of(work: Workload, plan: UpdatePlan, budget: Budget) -> "_Footprint":
        """All of a step's images at once where they fit the budget, else the most of 16, 8, 4, 2 and 1 that do."""
        selection = 0 if plan.selection_start is None else selection_bytes(work, plan.selection_start)
        images = 2 * work.support
        least = max(selection, plan.needed_bytes)
        modes = [_Footprint(images, max(least, fast_step_bytes(work, plan.counts)))]
        modes += [
            _Footprint(alive, max(least, stream_step_bytes(work, plan.counts, alive)))
            for alive in ALIVE_AT_ONCE
            if alive < images
        ]
        return next((mode for mode in modes if mode.live_bytes <= budget.memory_bytes), modes[-1])


@torch.no_grad()
def holdout_accuracy(backbone: Backbone, episode: Episode) -> float:
    """Nearest-prototype accuracy on the episode's query images, embedded one at a time."""
    support, query = (
        torch.cat([backbone.embed(scale_pixels(image[None])) for image in images])
        for images in (episode.support, episode.query)
    )
    return accuracy(support, episode.support_labels, query, episode.query_labels, episode.ways)


def _selection_macs(work: Workload, plan: UpdatePlan) -> int:
    """MACs of the Fisher pass as it is executed: the forward pass twice, and dL/dx down to its window."""
    if plan.selection_start is None:
        return 0
    return work.support * (2 * work.spec.macs + cost.input_gradient_macs(work.spec, plan.selection_start))


def _training_macs(work: Workload, plan: UpdatePlan, alive: int, steps: int) -> int:
    """MACs of training as it is executed, the accuracy checks apart."""
    spec, n = work.spec, work.support
    tail = sum(conv.macs for conv in spec.convs[plan.tail_start :])
    backward = cost.backward_macs(spec, plan.counts)
    if alive >= 2 * n:
        return n * (spec.macs - tail) + steps * n * (spec.macs - tail + 2 * (tail + backward))
    return steps * 2 * n * (2 * spec.macs + backward)


def _common_fields(episode: Episode, budget: Budget, method: Method, work: Workload) -> dict[str, object]:
    return {
        "method": method.number,
        "ways": episode.ways,
        "support_images": len(episode.support),
        "holdout_images": len(episode.query),
        "rejected_images": episode.rejected,
        "dropped_classes": episode.dropped_classes,
        "memory_budget_bytes": budget.memory_bytes,
        "backward_macs_budget": budget.backward_macs,
        "full_train_backward_macs": cost.full_train_backward_macs(work.spec),
    }


def _untrained(fields: dict[str, object], method: Method, plan: UpdatePlan, live_bytes: int) -> Personalisation:
    """The end where nothing is trained; what the least plan would have needed stands in the cost fields."""
    outcome = Outcome.CANNOT_AFFORD if method.adapts else Outcome.NOT_ADAPTED
    fields |= {"outcome": outcome, "live_memory_bytes": live_bytes, "backward_macs": plan.needed_macs}
    return Personalisation(PersonalisationReport.model_validate(fields), plan)


def _plan_fields(work: Workload, plan: UpdatePlan, footprint: _Footprint) -> dict[str, object]:
    spec, counts = work.spec, plan.counts
    return {
        "updated_weights": cost.updated_parameters(spec, counts),
        "updated_layers": len(counts),
        "updated_channels": [counts.get(conv.index, 0) for conv in spec.convs],
        "samples_alive": footprint.alive,
        "live_memory_bytes": footprint.live_bytes,
        "paper_memory_bytes": cost.paper_memory_bytes(spec, counts),
        "backward_macs": cost.backward_macs(spec, counts),
    }


def _training_fields(training: Training) -> dict[str, object]:
    return {
        "loss_first": training.losses[0] if training.losses else 0.0,
        "loss_last": training.losses[-1] if training.losses else 0.0,
        "steps": len(training.losses),
    }


def personalise(
    backbone: Backbone,
    episode: Episode,
    budget: Budget,
    method: str = "tinytrain",
    seed: int = 0,
    settings: TrainingSettings | None = None,
) -> Personalisation:
    """Choose what to update, update it, and judge the result on the episode's query images.

    A device that can afford nothing keeps the base backbone and says so; one whose adapted backbone is worse
    on its own holdout keeps the base backbone as well, and still reports the adapted accuracy.

    Args:
        budget: its memory is held against the `live` figure, whatever the method. Its backward MACs of one step
            and image are a policy for methods that choose; one that prescribes its layers is not held to them.
        seed: of the augmentation.

    Raises:
        ConfigurationError: the method or the optimiser is unknown.
        TrainingDivergedError: a loss or a weight is not finite.
    """
    settings = settings or TrainingSettings()
    chosen = method_by_name(method)
    task = Task(episode.support, episode.support_labels, episode.ways)
    work = Workload(backbone.spec, len(task.images), task.ways, OPTIMISERS[settings.optimiser].copies)
    with LiveBytes() as selection:
        plan = chosen.plan(Problem(backbone, task, budget, work))
    footprint = _Footprint.of(work, plan, budget)
    if plan.channels and footprint.live_bytes > budget.memory_bytes:
        plan = plan.refused(footprint.live_bytes, budget.memory_bytes)
    before = holdout_accuracy(backbone, episode)
    fields = _common_fields(episode, budget, chosen, work)
    fields |= {"accuracy_before": before, "accuracy_after": before}
    fields |= {"measured_memory_bytes": selection.peak, "total_macs": _selection_macs(work, plan)}
    if not plan.channels:
        return _untrained(fields, chosen, plan, footprint.live_bytes)
    training = finetune(backbone, task, plan, settings, footprint.alive, seed)
    after = holdout_accuracy(training.delta.apply(backbone), episode)
    fields |= _plan_fields(work, plan, footprint) | _training_fields(training)
    outcome = Outcome.ADAPTED if after >= before else Outcome.KEPT_BASE
    fields |= {
        "outcome": outcome,
        "accuracy_after": after,
        "measured_memory_bytes": max(selection.peak, training.measured_bytes),
        "total_macs": _selection_macs(work, plan) + _training_macs(work, plan, footprint.alive, settings.steps),
    }
    report = PersonalisationReport.model_validate(fields)
    return Personalisation(report, plan, training.delta if outcome is Outcome.ADAPTED else None)
