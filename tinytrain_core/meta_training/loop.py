"""The loop that both kinds of phase share: learning rate, gradient, validation, checkpoint.

A phase that was killed goes on from its checkpoint to the same weights: the state on disk is that of the model
and the optimiser, and everything else follows from the number of the step.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.errors import TrainingDivergedError
from tinytrain_core.meta_training.checkpoint import Checkpoint
from tinytrain_core.meta_training.settings import Phase
from tinytrain_core.meta_training.validation import Validation

LARGEST_GRADIENT = 5.0
Progress = Callable[[str, int, int, Mapping[str, float]], None]  # phase, step, steps, figures


@dataclass(frozen=True)
class Snapshot:
    """A validated backbone, where in the run it was taken, and whether none before validated better."""

    backbone: Backbone
    validation: Validation
    phase: str
    step: int
    is_best: bool


Save = Callable[[Snapshot], None]


def as_written(backbone: Backbone) -> Backbone:
    """In half precision and back, as a fleet gets it: what is validated is what is written."""
    return backbone.to(torch.float16).to(torch.float32)


class Model(Protocol):
    """What a phase trains."""

    parts: dict[str, nn.Module]

    def optimiser(self, phase: Any) -> torch.optim.Optimizer: ...

    def loss(self, phase: Any, number: int, step: int) -> Tensor: ...

    def snapshot(self) -> Backbone: ...


def learning_rate_factor(step: int, steps: int, warm_up: float) -> float:
    """The share of the full learning rate in a step counted from 0: a linear warm-up, then half a cosine to 0."""
    warm = warm_up * steps
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


@dataclass
class Loop:
    """One phase of a run.

    Attributes:
        number: of the phase, from 1.
        save: called after every validation.
        best: the best mean validation accuracy of the run so far.
    """

    phase: Phase
    number: int
    checkpoint_every: int
    out: Path
    validator: Callable[[Backbone], Validation]
    progress: Progress
    save: Save
    best: float

    @property
    def name(self) -> str:
        return f"{self.number}-{self.phase.kind}"

    def run(self, model: Model) -> float:
        """Train to the end of the phase; the best mean validation accuracy so far.

        Raises:
            TrainingDivergedError: the loss, a gradient or a weight is not finite.
            StorageError: a checkpoint cannot be read or written.
        """
        optimiser = model.optimiser(self.phase)
        base = [float(group["lr"]) for group in optimiser.param_groups]
        checkpoint = Checkpoint(self.out / f"phase-{self.name}.pt", {**model.parts, "optimiser": optimiser})
        saved = checkpoint.load()
        self.best = saved.get("best", self.best)
        for step in range(saved["step"], self.phase.steps):
            factor = learning_rate_factor(step, self.phase.steps, self.phase.warm_up)
            for group, rate in zip(optimiser.param_groups, base, strict=True):
                group["lr"] = rate * factor
            figures = self._step(model, optimiser, step, checkpoint.path)
            done = step + 1
            validates, keeps = self._is_due(done, self.phase.validate_every), self._is_due(done, self.checkpoint_every)
            if validates or keeps:
                self._check_weights(model, done, checkpoint.path)
            if validates:
                figures |= self._validate(as_written(model.snapshot()), done, checkpoint.path)
            if keeps:
                checkpoint.save(done, best=self.best)
            self.progress(self.name, done, self.phase.steps, figures | {"learning_rate": base[0] * factor})
        return self.best

    def _is_due(self, done: int, every: int) -> bool:
        """Whether something is done after this many steps; at the end it always is."""
        return done == self.phase.steps or (every > 0 and done % every == 0)

    def _diverged(self, done: int, what: str, last: Path) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"phase {self.name}, step {done} of {self.phase.steps}: {what}; the last good state is in "
            f"{last if last.exists() else 'none'}; the same command would meet this again: lower learning_rate and "
            "give another --out"
        )

    def _check_weights(self, model: Model, done: int, last: Path) -> None:
        """A finite loss does not say that the step after it left finite weights and statistics."""
        state = [tensor for part in model.parts.values() for tensor in part.state_dict().values()]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in state):
            raise self._diverged(done, "weights are not finite any more", last)

    def _step(self, model: Model, optimiser: torch.optim.Optimizer, step: int, last: Path) -> dict[str, float]:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        loss = model.loss(self.phase, self.number, step)
        optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        figures = {"loss": float(loss.detach()), "gradient": float(norm)}
        if not all(map(math.isfinite, figures.values())):
            what = f"the loss is {figures['loss']}, the gradient's norm {figures['gradient']}"
            raise self._diverged(step + 1, what, last)
        optimiser.step()
        return figures

    def _validate(self, backbone: Backbone, done: int, last: Path) -> dict[str, float]:
        if not all(bool(tensor.isfinite().all()) for tensor in (*backbone.weights, *backbone.biases)):
            raise self._diverged(done, "a weight is too large for half precision", last)
        validation = self.validator(backbone)
        is_best = validation.mean > self.best
        self.best = max(self.best, validation.mean)
        self.save(Snapshot(backbone, validation, self.name, done, is_best))
        return {f"validation/{name}": value for name, value in validation.means.items()}
