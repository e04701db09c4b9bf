"""The trainable end of a backbone, run forwards and backwards by hand so that only what is needed is kept.

The tail starts where a block does. A forward pass that is to be followed by a backward pass fills a `Tape`
with one mask for each ReLU6 behind the earliest chosen convolution, and with inputs of chosen convolutions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import ConvSpec
from tinytrain_core.engine.ops import conv_forward, input_gradient, needed_input, relu6_mask

AtOutput = Callable[[ConvSpec, Tensor], None]


@dataclass
class Tape:
    """What one forward pass leaves for the backward pass, by convolution index."""

    inputs: dict[int, Tensor] = field(default_factory=dict)
    masks: dict[int, Tensor] = field(default_factory=dict)
    outputs: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Tail:
    """Convolutions `start` to the end, of which `first` is the earliest whose output gradient is wanted.

    Attributes:
        backbone: its weights are read at every pass, so that updates in place take effect.
        channels: the chosen output channels (k,) of each chosen convolution.
        keep_outputs: tape every convolution's output as well, as the Fisher potential needs it.
    """

    backbone: Backbone
    start: int
    first: int
    channels: Mapping[int, Tensor] = field(default_factory=dict)
    keep_outputs: bool = False

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """Embeddings (N, D) of features (N, C, H, W) at the tail's input; what backward needs goes on the tape."""
        skip = None
        for conv in self.backbone.spec.convs[self.start :]:
            if conv.opens_residual:
                skip = x
            if tape is not None and conv.index in self.channels:
                tape.inputs[conv.index] = needed_input(x, conv, self.channels[conv.index])
            x = conv_forward(x, self.backbone.weights[conv.index], self.backbone.biases[conv.index], conv)
            if tape is not None and conv.index >= self.first:
                self._record(tape, conv, x)
            if conv.closes_residual and skip is not None:
                x = x + skip if self.keep_outputs else x.add_(skip)
                skip = None
        return x.mean((2, 3))

    def _record(self, tape: Tape, conv: ConvSpec, output: Tensor) -> None:
        if conv.relu6:
            tape.masks[conv.index] = relu6_mask(output)
        if self.keep_outputs:
            tape.outputs[conv.index] = output

    def backward(self, tape: Tape, gradient: Tensor, at_output: AtOutput) -> None:
        """Walk dL/dembedding (N, D) back to convolution `first`, consuming the masks of the tape.

        Args:
            at_output: called for every convolution from the last to `first` with the gradient by its output
                before the activation, (N, out, H, W), which it must not change.
        """
        skip = None
        g = self._spread(gradient)
        for conv in reversed(self.backbone.spec.convs[self.first :]):
            if conv.closes_residual:
                skip = g
            if conv.relu6:
                g = g.mul_(tape.masks.pop(conv.index))
            at_output(conv, g)
            if conv.index == self.first:
                return
            g = input_gradient(g, self.backbone.weights[conv.index], conv)
            if conv.opens_residual and skip is not None:
                g += skip
                skip = None

    def _spread(self, gradient: Tensor) -> Tensor:
        """The gradient by the last feature map, of which the embedding is the mean."""
        size = self.backbone.spec.convs[-1].out_size
        spread = (gradient / size**2)[:, :, None, None].expand(-1, -1, size, size)
        return spread.contiguous(memory_format=torch.channels_last)
