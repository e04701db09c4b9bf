"""Training all weights of a backbone on one device, with the engine that personalises: the local part of a round."""

from dataclasses import dataclass
from pathlib import Path

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.engine.features import Shelf
from tinytrain_core.engine.finetune import finetune
from tinytrain_core.engine.settings import OPTIMISERS, TrainingSettings
from tinytrain_core.engine.support import CleanFeatures, Task
from tinytrain_core.errors import TrainingDivergedError
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.selection.cost import Budget
from tinytrain_core.selection.executed import training_macs
from tinytrain_core.selection.footprint import Footprint, training_footprint
from tinytrain_core.selection.plan import UpdatePlan, prescribed
from tinytrain_core.selection.workload import Workload


@dataclass(frozen=True)
class LocalTraining:
    """What training all weights on a task is, before it is done.

    Attributes:
        footprint: the fastest way that fits the device, or the leanest where none does.
    """

    episode: Episode
    settings: TrainingSettings
    plan: UpdatePlan
    work: Workload
    footprint: Footprint

    @classmethod
    def of(cls, spec: BackboneSpec, episode: Episode, budget: Budget, settings: TrainingSettings) -> "LocalTraining":
        """Of an architecture, on a device with that budget."""
        plan = prescribed(spec, {conv.index for conv in spec.convs})
        copies, views = OPTIMISERS[settings.optimiser].copies, min(settings.views, settings.steps)
        work = Workload(spec, len(episode.support), episode.ways, copies, views, settings.precision)
        return cls(episode, settings, plan, work, training_footprint(work, plan.extent, budget, None))

    def run(self, backbone: Backbone, seed: int, folder: Path | None) -> tuple[Backbone, list[float], int]:
        """Train; the holdout is not looked at.

        Args:
            seed: of the views.
            folder: for features in files without names.

        Returns:
            The trained backbone, the loss before each step, and the MACs that it took.

        Raises:
            TrainingDivergedError: a loss or a weight is not finite.
            StorageError: no room for the features.
        """
        task = Task(self.episode.support, self.episode.support_labels, self.episode.ways)
        clean = CleanFeatures(backbone, task, Shelf(self.settings.precision, folder))
        execution = self.footprint.execution
        done = finetune(backbone, task, self.plan, self.settings, execution, seed, clean)
        if done.delta is None:
            raise TrainingDivergedError(
                f"the training of all weights diverged after {len(done.losses)} of {self.settings.steps} steps; "
                "try a lower learning rate"
            )
        macs = training_macs(self.work, self.plan, execution, len(done.losses))
        return done.delta.apply(backbone), done.losses, macs
