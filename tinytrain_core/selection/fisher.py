"""Fisher potential: what one backward pass says about each output channel.

With activation a and gradient g = dL/da at a convolution's output before the activation, for channel o,
N support samples and D positions (TinyTrain; Theis et al. 2018):

    Delta_o = 1 / (2 N) sum_n ( sum_d a_nd g_nd )^2        P_i = sum_o Delta_o

L is the batch-mean prototype loss of the clean support against its own prototypes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import ConvSpec
from tinytrain_core.engine.prefix import Prefix
from tinytrain_core.engine.tail import AtOutput, Tail, Tape
from tinytrain_core.fewshot.prototypes import loss_and_gradients


@dataclass(frozen=True)
class Task:
    """A support set to personalise to: uint8 images (N, 3, R, R) and labels (N,) in 0 .. ways - 1."""

    images: Tensor
    labels: Tensor
    ways: int


@dataclass(frozen=True)
class Potential:
    """Delta_o (out_channels,) of every convolution from `start` on, by convolution index."""

    start: int
    channels: dict[int, Tensor]

    def layer(self, index: int) -> float:
        """P_i."""
        return float(self.channels[index].sum())


def embed_each(backbone: Backbone, prefix: Prefix, tail: Tail, n: int) -> Tensor:
    """Embeddings (n, D) of the first n images of a step, one image alive at a time."""
    out = torch.empty(n, backbone.spec.feature_dim, dtype=backbone.weights[0].dtype)
    for i in range(n):
        out[i : i + 1] = tail.forward(prefix.features(i, i + 1, None))
    return out


@torch.no_grad()
def fisher_potential(backbone: Backbone, task: Task, start: int) -> Potential:
    """The potential of every channel of convolutions `start` (which opens a block) to the end.

    One image is alive at a time: embeddings first, the loss's gradients by them, then image by image.
    """
    n = len(task.images)
    prefix, tail = Prefix(backbone, start, task.images), Tail(backbone, start, start, keep_outputs=True)
    embeddings = embed_each(backbone, prefix, tail, n)
    gradients = _embedding_gradients(embeddings, task, backbone.head_scale)
    sums = {c.index: torch.zeros(c.out_channels, dtype=embeddings.dtype) for c in backbone.spec.convs[start:]}
    for i in range(n):
        tape = Tape()
        tail.forward(prefix.features(i, i + 1, None), tape)
        tail.backward(tape, gradients[i : i + 1], _accumulate(tape, sums))
    return Potential(start, {index: total / (2 * n) for index, total in sums.items()})


def _embedding_gradients(embeddings: Tensor, task: Task, scale: float) -> Tensor:
    """dL/dembedding (N, D) of the clean support, which is prototypes and queries at once."""
    with torch.enable_grad():
        _, as_support, as_query = loss_and_gradients(embeddings, task.labels, embeddings, task.labels, task.ways, scale)
    return as_support.add_(as_query)


def _accumulate(tape: Tape, sums: dict[int, Tensor]) -> AtOutput:
    """Add (sum_d a g)^2 of one image to `sums` wherever the gradient passes."""

    def at_output(conv: ConvSpec, gradient: Tensor) -> None:
        # Where ReLU6 is flat the gradient is zero, so that its output serves for what went into it.
        sums[conv.index] += (
            torch.linalg.vecdot(tape.outputs.pop(conv.index).flatten(2), gradient.flatten(2)).square().sum(0)
        )

    return at_output
