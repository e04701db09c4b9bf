"""The fine-tuning loop (PMF's, Hu et al. 2022), on the chosen channels only.

Each step takes prototypes from the clean support with gradient and classifies an augmented copy of the same
support. The images couple only through their embeddings, so that with dLoss/dembedding known each image can
go forwards and backwards alone: one gradient in two memory modes, the whole support at once or a few images
at a time.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import ConvSpec
from tinytrain_core.engine.delta import Delta
from tinytrain_core.engine.memory import LiveBytes
from tinytrain_core.engine.ops import parameter_gradients
from tinytrain_core.engine.prefix import Prefix
from tinytrain_core.engine.settings import OPTIMISERS, TrainingSettings
from tinytrain_core.engine.tail import AtOutput, Tail, Tape
from tinytrain_core.errors import TrainingDivergedError
from tinytrain_core.fewshot.augment import View, draw_view
from tinytrain_core.fewshot.prototypes import loss_and_gradients
from tinytrain_core.seeds import torch_generator
from tinytrain_core.selection.fisher import Task
from tinytrain_core.selection.plan import UpdatePlan

WATCHED_STEPS = 2


@dataclass(frozen=True)
class Training:
    """What fine-tuning gave."""

    delta: Delta
    losses: list[float]
    measured_bytes: int


def _with_working_copies(backbone: Backbone, plan: UpdatePlan) -> Backbone:
    """The chosen convolutions with weights of their own, to be updated in place; all others shared and frozen."""
    weights, biases = list(backbone.weights), list(backbone.biases)
    for i in plan.channels:
        weights[i], biases[i] = weights[i].clone(), biases[i].clone()
    return Backbone(backbone.spec, tuple(weights), tuple(biases), backbone.head_scale)


class SparseTrainer:
    """One task's fine-tuning, with all that lives through it: working copies, slices, gradients, optimiser.

    Args:
        alive: how many of a step's 2 N images are alive at once. With all of them, the clean support's
            features are kept through the run.
    """

    def __init__(
        self, backbone: Backbone, task: Task, plan: UpdatePlan, settings: TrainingSettings, alive: int
    ) -> None:
        self.task, self.settings, self.alive = task, settings, alive
        self.rows = {i: torch.tensor(chosen) for i, chosen in plan.channels.items()}
        self.backbone = _with_working_copies(backbone, plan)
        self.slices = {
            i: (self.backbone.weights[i].index_select(0, rows), self.backbone.biases[i].index_select(0, rows))
            for i, rows in self.rows.items()
        }
        self.sums = {i: (torch.zeros_like(w), torch.zeros_like(b)) for i, (w, b) in self.slices.items()}
        self.optimiser = self._make_optimiser()
        self.tail = Tail(self.backbone, plan.tail_start, plan.first, self.rows)
        self.prefix = Prefix(self.backbone, plan.tail_start, task.images)
        if alive >= self.images:
            self.prefix = self.prefix.remember()

    @property
    def images(self) -> int:
        """Images of one step: the clean support and its augmented copy."""
        return 2 * len(self.task.images)

    def _make_optimiser(self) -> torch.optim.Optimizer:
        """The optimiser of the slices, whose gradients are the sums."""
        parameters = [part for pair in self.slices.values() for part in pair]
        for parameter, total in zip(parameters, (part for pair in self.sums.values() for part in pair), strict=True):
            parameter.grad = total
        return OPTIMISERS[self.settings.optimiser].make(parameters, self.settings.learning_rate)

    def gradients(self, view: View | None) -> float:
        """Add one step's gradients to those of the slices, and give its loss."""
        return self._streamed_gradients(view) if self.alive < self.images else self._whole_gradients(view)

    def _whole_gradients(self, view: View | None) -> float:
        tape = Tape()
        embeddings = self.tail.forward(self.prefix.features(0, self.images, view), tape)
        loss, by_embedding = self._head(embeddings)
        self.tail.backward(tape, by_embedding, self._collect(tape))
        return loss

    def _streamed_gradients(self, view: View | None) -> float:
        parts = [(i, min(i + self.alive, self.images)) for i in range(0, self.images, self.alive)]
        embeddings = torch.empty(self.images, self.backbone.spec.feature_dim, dtype=self.backbone.weights[0].dtype)
        for first, last in parts:
            embeddings[first:last] = self.tail.forward(self.prefix.features(first, last, view))
        loss, by_embedding = self._head(embeddings)
        for first, last in parts:
            tape = Tape()
            self.tail.forward(self.prefix.features(first, last, view), tape)
            self.tail.backward(tape, by_embedding[first:last], self._collect(tape))
        return loss

    def _head(self, embeddings: Tensor) -> tuple[float, Tensor]:
        """The loss, and its gradient by the embeddings (2 N, D), clean ones first."""
        clean, augmented = embeddings.chunk(2)
        labels, scale = self.task.labels, self.backbone.head_scale
        with torch.enable_grad():
            loss, by_clean, by_augmented = loss_and_gradients(clean, labels, augmented, labels, self.task.ways, scale)
        return loss, torch.cat([by_clean, by_augmented])

    def _collect(self, tape: Tape) -> AtOutput:
        """Add the parameter gradients of chosen channels wherever the gradient passes."""

        def at_output(conv: ConvSpec, gradient: Tensor) -> None:
            rows = self.rows.get(conv.index)
            if rows is None:
                return
            needed = tape.inputs.pop(conv.index)
            found = parameter_gradients(gradient, needed, self.backbone.weights[conv.index], conv, rows)
            for total, by_part in zip(self.sums[conv.index], found, strict=True):
                total += by_part

        return at_output

    def step(self, number: int, generator: torch.Generator) -> float:
        """One step; its loss before the update.

        Raises:
            TrainingDivergedError: the loss is not finite.
        """
        resolution = self.backbone.spec.resolution
        view = draw_view(len(self.task.images), resolution, self.settings.augmentation, generator)
        loss = self.gradients(view)
        if not math.isfinite(loss):
            raise TrainingDivergedError(f"the loss of step {number} is {loss}; try a lower learning rate")
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=False)
        self._publish()
        return loss

    def _publish(self) -> None:
        """Write the slices into the weights that the passes read."""
        for i, rows in self.rows.items():
            weight, bias = self.slices[i]
            self.backbone.weights[i].index_copy_(0, rows, weight)
            self.backbone.biases[i].index_copy_(0, rows, bias)

    def delta(self) -> Delta:
        """The slices as they are.

        Raises:
            TrainingDivergedError: one of them is not finite.
        """
        if not all(bool(torch.isfinite(part).all()) for pair in self.slices.values() for part in pair):
            raise TrainingDivergedError("an updated weight is not finite; try a lower learning rate")
        weights = {i: pair[0].clone() for i, pair in self.slices.items()}
        return Delta(self.backbone.spec, self.rows, weights, {i: pair[1].clone() for i, pair in self.slices.items()})


@torch.no_grad()
def finetune(
    backbone: Backbone, task: Task, plan: UpdatePlan, settings: TrainingSettings, alive: int, seed: int
) -> Training:
    """Train a plan, which must not be empty; `backbone` is left as it is.

    The start and the first two steps, after which the optimiser has its state, are watched for their live bytes.

    Args:
        alive: as `SparseTrainer` takes it.
        seed: of the augmentation.

    Raises:
        TrainingDivergedError: a loss or a weight is not finite.
    """
    generator = torch_generator(seed)
    watched = min(WATCHED_STEPS, settings.steps)
    with LiveBytes() as live:
        trainer = SparseTrainer(backbone, task, plan, settings, alive)
        losses = [trainer.step(number, generator) for number in range(1, watched + 1)]
    losses += [trainer.step(number, generator) for number in range(watched + 1, settings.steps + 1)]
    return Training(trainer.delta(), losses, live.peak)
