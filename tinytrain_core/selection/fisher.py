"""Fisher potential: what one backward pass says about each output channel.

With activation a and gradient g = dL/da at a convolution's output before the activation, for channel o,
N support samples and D positions (TinyTrain; Theis et al. 2018):

    Delta_o = 1 / (2 N) sum_n ( sum_d a_nd g_nd )^2        P_i = sum_o Delta_o

L is the batch-mean prototype loss of the clean support against its own prototypes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tinytrain_core.backbones.spec import ConvSpec
from tinytrain_core.engine.execution import Execution, parts
from tinytrain_core.engine.layers import FrozenLayers
from tinytrain_core.engine.memory import watched
from tinytrain_core.engine.support import CleanFeatures, Task
from tinytrain_core.engine.tail import AtOutput, Tail, Tape
from tinytrain_core.fewshot.prototypes import loss_and_gradients_


@dataclass(frozen=True)
class Potential:
    """Delta_o (out_channels,) of every convolution from `start` on, by convolution index."""

    start: int
    channels: dict[int, Tensor]

    def layer(self, index: int) -> float:
        """P_i."""
        return float(self.channels[index].sum())


@torch.no_grad()
def fisher_potential(clean: CleanFeatures, task: Task, start: int, execution: Execution) -> Potential:
    """The potential of every channel of convolutions `start` (which opens a block) to the end.

    Args:
        clean: features of the support, kept at `start` from here on.
    """
    clean.keep(start, execution)
    backbone, n = clean.prefix.backbone, len(task.images)
    tail = Tail(FrozenLayers(backbone), start, start, lean=execution.lean, keep_outputs=True)
    with clean.live:
        sums = {c.index: backbone.weights[0].new_zeros(c.out_channels) for c in backbone.spec.convs[start:]}
    add = _add_at_once if execution.alive >= n else _add_one_by_one
    add(tail, clean, task, sums, execution.alive)
    return Potential(start, {index: total / (2 * n) for index, total in sums.items()})


Sums = dict[int, Tensor]


def _add_at_once(tail: Tail, clean: CleanFeatures, task: Task, sums: Sums, alive: int) -> None:
    with clean.live:
        tape = Tape()
        embeddings = tail.forward(clean.at(tail.start, 0, alive), tape)
        gradients = _embedding_gradients(embeddings, task, tail.layers.backbone.head_scale)
        tail.backward(tape, gradients, _accumulate(tape, sums))


def _add_one_by_one(tail: Tail, clean: CleanFeatures, task: Task, sums: Sums, alive: int) -> None:
    def features(first: int, last: int) -> Tensor:
        return clean.at(tail.start, first, last)

    embeddings = tail.embed_each(features, list(parts(clean.images, alive)), clean.live)
    with clean.live:
        gradients = _embedding_gradients(embeddings, task, tail.layers.backbone.head_scale)
    for first, last in parts(clean.images, alive):
        with watched(clean.live if first == 0 else None):
            tape = Tape()
            tail.forward(features(first, last), tape)
            tail.backward(tape, gradients[first:last], _accumulate(tape, sums))


def _embedding_gradients(embeddings: Tensor, task: Task, scale: float) -> Tensor:
    """dL/dembedding (N, D) of the clean support, which is prototypes and queries at once."""
    as_query = embeddings.clone()
    loss_and_gradients_(embeddings, as_query, task.labels, task.ways, scale)
    return embeddings.add_(as_query)


def _accumulate(tape: Tape, sums: Sums) -> AtOutput:
    """Add (sum_d a g)^2 of each image to `sums` wherever the gradient passes."""

    def at_output(conv: ConvSpec, gradient: Tensor) -> None:
        # Where ReLU6 is flat the gradient is zero, so that its output serves for what went into it.
        activation = tape.outputs.pop(conv.index).mul_(gradient)
        sums[conv.index] += activation.sum((2, 3)).square().sum(0)

    return at_output
