"""The whole path of one device as one pure call: no network, no files, no global seed."""

from dataclasses import dataclass, field

import torch

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine.delta import Delta
from tinytrain_core.engine.finetune import SparseTrainer, Training
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
from tinytrain_core.selection.methods import Problem, method_by_name
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


def _total_macs(work: Workload, plan: UpdatePlan, alive: int, steps: int) -> int:
    """MACs of selection and training as they are executed, the accuracy checks apart."""
    spec, n = work.spec, work.support
    total = 0
    if plan.selection_start is not None:
        total += n * (2 * spec.macs + cost.input_gradient_macs(spec, plan.selection_start))
    if not plan.channels:
        return total
    tail = sum(conv.macs for conv in spec.convs[plan.tail_start :])
    backward = cost.backward_macs(spec, plan.counts)
    if alive >= 2 * n:
        return total + n * (spec.macs - tail) + steps * n * (spec.macs - tail + 2 * (tail + backward))
    return total + steps * 2 * n * (2 * spec.macs + backward)


def _outcome(plan: UpdatePlan, footprint: _Footprint, budget: Budget, method: str) -> Outcome | None:
    """How it ends before any training; None where training goes ahead."""
    if method == "none":
        return Outcome.NOT_ADAPTED
    if not plan.channels or footprint.live_bytes > budget.memory_bytes:
        return Outcome.CANNOT_AFFORD
    return None


def _common_fields(episode: Episode, budget: Budget, number: int, work: Workload) -> dict[str, object]:
    return {
        "method": number,
        "ways": episode.ways,
        "support_images": len(episode.support),
        "holdout_images": len(episode.query),
        "rejected_images": episode.rejected,
        "dropped_classes": episode.dropped_classes,
        "memory_budget_bytes": budget.memory_bytes,
        "backward_macs_budget": budget.backward_macs,
        "full_train_backward_macs": cost.full_train_backward_macs(work.spec),
    }


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


def _training_fields(training: Training, selection_bytes_measured: int) -> dict[str, object]:
    return {
        "measured_memory_bytes": max(training.measured_bytes, selection_bytes_measured),
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
        budget: held against the `live` memory figure and the backward MACs of one step and image.
        seed: of the augmentation.

    Raises:
        ConfigurationError: the method or the optimiser is unknown.
        TrainingDivergedError: a loss or a weight is not finite.
    """
    settings = settings or TrainingSettings()
    chosen = method_by_name(method)
    task = Task(episode.support, episode.support_labels, episode.ways)
    work = Workload(backbone.spec, len(task.images), task.ways, OPTIMISERS[settings.optimiser].copies)
    with LiveBytes() as live:
        plan = chosen.plan(Problem(backbone, task, budget, work))
    footprint = _Footprint.of(work, plan, budget)
    before = holdout_accuracy(backbone, episode)
    fields = _common_fields(episode, budget, chosen.number, work)
    fields |= {"accuracy_before": before, "accuracy_after": before}
    outcome = _outcome(plan, footprint, budget, method)
    if outcome is not None:
        fields["live_memory_bytes"] = footprint.live_bytes
        return Personalisation(PersonalisationReport(**fields, outcome=outcome), plan)  # type: ignore[arg-type]
    training = SparseTrainer(backbone, task, plan, settings, footprint.alive).run(seed)
    after = holdout_accuracy(training.delta.apply(backbone), episode)
    fields |= _plan_fields(work, plan, footprint) | _training_fields(training, live.peak)
    fields |= {"accuracy_after": after, "total_macs": _total_macs(work, plan, footprint.alive, settings.steps)}
    outcome = Outcome.ADAPTED if after >= before else Outcome.KEPT_BASE
    report = PersonalisationReport(**fields, outcome=outcome)  # type: ignore[arg-type]
    return Personalisation(report, plan, training.delta if outcome is Outcome.ADAPTED else None)
