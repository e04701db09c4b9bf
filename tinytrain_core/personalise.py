"""The whole path of one device as one pure call: no network, no global seed, and no files but nameless ones."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine.delta import Delta
from tinytrain_core.engine.evaluate import Holdout, judge
from tinytrain_core.engine.features import Shelf
from tinytrain_core.engine.finetune import Training, finetune
from tinytrain_core.engine.memory import LiveBytes
from tinytrain_core.engine.settings import OPTIMISERS, TrainingSettings
from tinytrain_core.engine.support import CleanFeatures, Task
from tinytrain_core.errors import ErrorCode
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.report import Outcome, PersonalisationReport
from tinytrain_core.selection import cost
from tinytrain_core.selection.cost import Budget
from tinytrain_core.selection.executed import inspection_macs, training_macs
from tinytrain_core.selection.footprint import Footprint, inspection_footprint, judging_footprint, training_footprint
from tinytrain_core.selection.methods import Method, Problem, method_by_name
from tinytrain_core.selection.plan import UpdatePlan
from tinytrain_core.selection.workload import Workload


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
class _Adapted:
    """How far adapting got.

    Attributes:
        footprint: of the training; of the inspection alone where nothing is trained.
        live: has watched it.
        training: None where there is nothing to train.
    """

    plan: UpdatePlan
    footprint: Footprint
    live: LiveBytes
    training: Training | None = None


@dataclass(frozen=True)
class _Personaliser:
    """One task on one device."""

    backbone: Backbone
    episode: Episode
    budget: Budget
    method: Method
    settings: TrainingSettings
    folder: Path | None

    @property
    def work(self) -> Workload:
        settings = self.settings
        copies = OPTIMISERS[settings.optimiser].copies
        support = len(self.episode.support)
        views = min(settings.views, settings.steps or settings.views)
        ways, unlabelled = self.episode.ways, len(self.unlabelled)
        return Workload(self.backbone.spec, support, ways, copies, views, settings.precision, unlabelled)

    @property
    def unlabelled(self) -> Tensor:
        """The images to be classified, as far as the method learns from them."""
        return self.episode.query[: len(self.episode.query) if self.method.transductive else 0]

    def _work(self, plan: UpdatePlan) -> Workload:
        return replace(self.work, detached=plan.detached)

    def adapt(self, seed: int) -> _Adapted:
        """Choose and train."""
        device = self.backbone.weights[0].device
        labels = self.episode.support_labels.to(device)
        task = Task(self.episode.support, labels, self.episode.ways, self.unlabelled)
        clean = CleanFeatures(self.backbone, task, Shelf(self.settings.precision, self.folder))
        plan = self.method.plan(Problem(clean, task, self.budget, self.work, seed))
        if plan.updates:
            plan.check(self.backbone.spec)
        plan, footprint = self._within_budget(plan)
        if not plan.updates:
            return _Adapted(plan, footprint, clean.live)
        training = finetune(self.backbone, task, plan, self.settings, footprint.execution, seed, clean)
        return _Adapted(plan, footprint, clean.live, training)

    def _within_budget(self, plan: UpdatePlan) -> tuple[UpdatePlan, Footprint]:
        """The plan, or the empty one that is left where it does not fit; and what is executed takes."""
        footprint = self._footprint(plan)
        if plan.updates and not footprint.fits(self.budget):
            plan = plan.refused(footprint.memory_bytes, self.budget.memory_bytes)
            footprint = self._footprint(plan)
        return plan, footprint

    def _footprint(self, plan: UpdatePlan) -> Footprint:
        work, budget, inspection = self._work(plan), self.budget, plan.inspection
        storage = inspection_footprint(work, inspection.start, budget).storage_bytes if inspection else 0
        memory = plan.selection_bytes
        if not plan.updates:
            judged = judging_footprint(work, budget)
            needed = max(memory, plan.needed_bytes) if self.method.adapts else judged.memory_bytes
            return Footprint(judged.execution, needed, storage)
        trained = training_footprint(work, plan.extent, budget, inspection)
        return Footprint(trained.execution, max(memory, trained.memory_bytes), max(storage, trained.storage_bytes))

    def common_fields(self) -> dict[str, object]:
        episode, budget = self.episode, self.budget
        return {
            "method": self.method.number,
            "ways": episode.ways,
            "support_images": len(episode.support),
            "holdout_images": len(episode.query),
            "rejected_images": episode.rejected,
            "dropped_classes": episode.dropped_classes,
            "memory_budget_bytes": budget.memory_bytes,
            "storage_budget_bytes": budget.storage_bytes,
            "backward_macs_budget": budget.backward_macs,
            "full_train_backward_macs": cost.full_train_backward_macs(self.backbone.spec),
        }

    def adapted_fields(self, adapted: _Adapted) -> dict[str, object]:
        """What a plan costs; where there is none, what the least one would have needed."""
        work, plan, footprint = self._work(adapted.plan), adapted.plan, adapted.footprint
        fields: dict[str, object] = {
            "live_memory_bytes": footprint.memory_bytes,
            "measured_memory_bytes": adapted.live.peak,
            "storage_bytes": footprint.storage_bytes,
            "total_macs": inspection_macs(work, plan.inspection),
            "backward_macs": plan.needed_macs,
        }
        return fields | (self._plan_fields(adapted) if plan.updates else {})

    def _plan_fields(self, adapted: _Adapted) -> dict[str, object]:
        plan, execution = adapted.plan, adapted.footprint.execution
        work = self._work(plan)
        spec, extent = work.spec, plan.extent
        losses = adapted.training.losses if adapted.training else []
        training = training_macs(work, plan, execution, len(losses))
        return {
            "updated_weights": cost.updated_parameters(spec, extent),
            "updated_layers": len(extent.shares),
            "updated_channels": [
                len(plan.updates[c.index].outputs) if c.index in plan.updates else 0 for c in spec.convs
            ],
            "samples_alive": execution.alive,
            "paper_memory_bytes": cost.paper_memory_bytes(spec, extent),
            "backward_macs": work.backward_macs(extent),
            "total_macs": inspection_macs(work, plan.inspection) + training,
            "loss_first": losses[0] if losses else 0.0,
            "loss_last": losses[-1] if losses else 0.0,
            "steps": len(losses),
        }

    def judged(self, adapted: _Adapted) -> Personalisation:
        """The end: accuracy before and after, and whether the device keeps what it has trained."""
        delta = adapted.training.delta if adapted.training is not None else None
        # A device that affords nothing may not afford this either: then whoever holds it judges for it.
        live = adapted.live if delta is not None or not self.method.adapts else None
        holdout = judge(self.backbone, self.episode, delta, adapted.footprint.execution, live)
        fields = self.common_fields() | self.adapted_fields(adapted) | self._ending(adapted, holdout)
        report = PersonalisationReport.model_validate(fields)
        return Personalisation(report, adapted.plan, delta if report.outcome == Outcome.ADAPTED else None)

    def _ending(self, adapted: _Adapted, holdout: Holdout) -> dict[str, object]:
        """Outcome and accuracies."""
        after = holdout.before if holdout.after is None else holdout.after
        fields: dict[str, object] = {"accuracy_before": holdout.before, "accuracy_after": after}
        if adapted.training is None:
            return fields | {"outcome": Outcome.CANNOT_AFFORD if self.method.adapts else Outcome.NOT_ADAPTED}
        if adapted.training.delta is None:
            return fields | {"outcome": Outcome.FAILED, "error": int(ErrorCode.TRAINING_DIVERGED)}
        return fields | {"outcome": Outcome.ADAPTED if after >= holdout.before else Outcome.KEPT_BASE}


def personalise(
    backbone: Backbone,
    episode: Episode,
    budget: Budget,
    method: str = "tinytrain",
    seed: int = 0,
    settings: TrainingSettings | None = None,
    folder: Path | None = None,
) -> Personalisation:
    """Choose what to update, update it, and judge the result on the episode's query images.

    A device that can afford nothing keeps the base backbone and says so; one whose adapted backbone is worse
    on its own holdout keeps the base backbone as well, and still reports the adapted accuracy. Where a step gives
    what is not a number, it is not taken, the outcome is FAILED, and nothing that was trained is used.

    Args:
        budget: its memory is held against the `live` figure and its storage against features in a file, whatever the
            method. Its backward MACs of one step and image are a policy for methods that choose; one that
            prescribes its layers is not held to them.
        method: by name and options, as `method_by_name` takes it.
        seed: of the augmentation, and of what a method draws.
        folder: where features that do not fit the memory are kept meanwhile, in files without names; by default
            where the system has its temporary files.

    Raises:
        ConfigurationError: the method, one of its options or the optimiser is unknown.
        BackboneError: the method plans for what the backbone does not have.
        StorageError: the folder has less room than the budget says.
    """
    settings = settings or TrainingSettings()
    device = _Personaliser(backbone, episode, budget, method_by_name(method), settings, folder)
    return device.judged(device.adapt(seed))
