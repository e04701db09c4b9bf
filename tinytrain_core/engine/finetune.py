"""The fine-tuning loop (PMF's, Hu et al. 2022), on the chosen channels only.

Each step takes prototypes from the clean support with gradient and classifies a view of the same support. The images
couple only through their embeddings, so that with dLoss/dembedding known each image can go forwards and backwards
alone: one gradient, whether the whole support is alive at once or a single image.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import ConvSpec
from tinytrain_core.engine.adapters import initial, lite_shape
from tinytrain_core.engine.delta import Delta
from tinytrain_core.engine.execution import Execution, step_parts
from tinytrain_core.engine.layers import Differences, TrainedLayers, WorkingCopies
from tinytrain_core.engine.memory import LiveBytes, watched
from tinytrain_core.engine.ops import add_parameter_gradients, select
from tinytrain_core.engine.settings import OPTIMISERS, TrainingSettings
from tinytrain_core.engine.support import CleanFeatures, StepFeatures, StepView, Task, Views
from tinytrain_core.engine.tail import Tail, Tape
from tinytrain_core.engine.update import Chosen
from tinytrain_core.errors import TrainingDivergedError
from tinytrain_core.fewshot.prototypes import loss_and_gradients_
from tinytrain_core.seeds import torch_generator
from tinytrain_core.selection.plan import UpdatePlan

WATCHED_STEPS = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What fine-tuning gave.

    Attributes:
        losses: before each step that was taken.
        delta: None where a loss, a gradient or a weight was not finite, which ended the training.
        measured_bytes: the most that was alive, in memory.
    """

    delta: Delta | None
    losses: list[float]
    measured_bytes: int


class SparseTrainer:
    """One task's fine-tuning, with all that lives through it: trained values, their gradient, the optimiser's state."""

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        features: StepFeatures,
        plan: UpdatePlan,
        settings: TrainingSettings,
        execution: Execution,
    ) -> None:
        self.task, self.features, self.execution, self.detached = task, features, execution, plan.detached
        device = backbone.weights[0].device
        convs = backbone.spec.convs
        rows = {i: Chosen.of(update.simplified(convs[i]), device) for i, update in plan.updates.items()}
        branches = {block: initial(lite_shape(backbone.spec, block)) for block in plan.adapters}
        self.layers: TrainedLayers = (Differences if execution.lean else WorkingCopies)(backbone, rows, branches)
        self.gradient = self.layers.begin()
        self.optimiser = OPTIMISERS[settings.optimiser].make(self.layers.flat, settings.learning_rate)
        self.tail = Tail(self.layers, plan.tail_start, plan.first, rows, execution.lean)

    def gradients(self, seen: StepView, live: LiveBytes | None = None) -> float:
        """Add one step's gradients to those of the trained values, and give its loss."""
        return self._one_by_one(seen, live) if self.execution.lean else self._all_at_once(seen, live)

    def _all_at_once(self, seen: StepView, live: LiveBytes | None) -> float:
        with watched(live):
            n, tape = len(self.task.images) if self.detached else 0, Tape()
            constant = self.tail.forward(self.features.of_step(seen, 0, n)) if n else None
            embeddings = self.tail.forward(self.features.joined(seen, clean=not n), tape)
            embeddings = embeddings if constant is None else torch.cat([constant, embeddings])
            loss = self._loss_(embeddings)
            self._backward(tape, embeddings[n:])
        return loss

    def _one_by_one(self, seen: StepView, live: LiveBytes | None) -> float:
        def features(first: int, last: int) -> Tensor:
            return self.features.of_step(seen, first, last)

        support = len(self.task.images)
        groups = step_parts(support, len(self.task.unlabelled), self.execution.alive)
        watch = (0, support, 2 * support)
        embeddings = self.tail.embed_each(features, groups, live, watch)
        with watched(live):
            loss = self._loss_(embeddings)
        for first, last in groups:
            if self.detached and first < support:
                continue
            with watched(live if first in watch else None):
                tape = Tape()
                self.tail.forward(features(first, last), tape)
                self._backward(tape, embeddings[first:last])
        return loss

    def _loss_(self, embeddings: Tensor) -> float:
        """The loss of embeddings (2 N + U, D), clean ones first, which its gradients by them replace."""
        clean, seen = embeddings.tensor_split([len(self.task.images)])
        scale = self.layers.backbone.head_scale
        return loss_and_gradients_(clean, seen, self.task.labels, self.task.ways, scale)

    def _backward(self, tape: Tape, gradient: Tensor) -> None:
        """Add the gradients of trained values wherever the gradient by the embeddings passes."""

        def at_output(conv: ConvSpec, gradient: Tensor) -> None:
            chosen = self.layers.rows.get(conv.index)
            if chosen is None:
                return
            x = tape.inputs.pop(conv.index, None)
            if x is not None and conv.depthwise and not self.execution.lean:
                x = select(x, chosen.outputs)
            add_parameter_gradients(*self.layers.sums[conv.index], select(gradient, chosen.outputs), x, conv)

        def at_branch(block: int, gradients: Sequence[Tensor]) -> None:
            for total, one in zip(self.layers.branch_sums[block], gradients, strict=True):
                total += one

        self.tail.backward(tape, gradient, at_output, at_branch)

    def step(self, number: int, seen: StepView, live: LiveBytes | None = None) -> float:
        """One step; its loss before the update.

        Args:
            live: watches it, if it is given.

        Raises:
            TrainingDivergedError: the loss or the gradient is not finite; the step is not taken.
        """
        loss, size = self.gradients(seen, live), float(self.gradient.norm())
        if not math.isfinite(loss + size):
            self.gradient.zero_()
            raise TrainingDivergedError(
                f"the loss of step {number} is {loss}, its gradient {size}; try a lower learning rate"
            )
        with watched(live):
            self.optimiser.step()
        self.gradient.zero_()
        self.layers.publish()
        return loss

    def run(self, views: Views, steps: int, live: LiveBytes) -> list[float]:
        """The losses of `steps` steps, until one of them is not finite.

        The first two are watched: after them, the optimiser has its state.
        """
        losses: list[float] = []
        for number in range(steps):
            try:
                losses.append(self.step(number, views.of_step(number), live if number < WATCHED_STEPS else None))
            except TrainingDivergedError as error:
                log.warning("%s", error)
                break
        return losses


@torch.no_grad()
def finetune(
    backbone: Backbone,
    task: Task,
    plan: UpdatePlan,
    settings: TrainingSettings,
    execution: Execution,
    seed: int,
    clean: CleanFeatures,
) -> Training:
    """Train a plan; `backbone` is left as it is.

    Another backend takes the place of this function: a plan, folded weights and features in, updated slices out.

    Args:
        seed: of the views.
        clean: features of the clean support as far as they are known; kept at the tail's input from here on.

    Raises:
        BackboneError: the plan is empty, of another architecture, or names channels that are not there.
        StorageError: no room for the features that are to be kept.
    """
    plan.check(backbone.spec)
    n, resolution, pool = len(task.images), backbone.spec.resolution, min(settings.views, settings.steps)
    with clean.live:
        views = Views.drawn(pool, n, resolution, settings.augmentation, torch_generator(seed))
    features = StepFeatures(clean, plan.tail_start, views.pool, execution, task.unlabelled)
    with clean.live:
        trainer = SparseTrainer(backbone, task, features, plan, settings, execution)
    losses, layers = trainer.run(views, settings.steps, clean.live), trainer.layers
    if len(losses) < settings.steps or not math.isfinite(float(layers.flat.norm())):
        return Training(None, losses, clean.live.peak)
    del trainer, features  # with the optimiser's state: the delta is made where they were
    with clean.live:
        layers.end()
        delta = layers.delta()
    return Training(delta, losses, clean.live.peak)
