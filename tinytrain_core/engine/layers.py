"""The weights that the tail runs with: frozen ones, and two ways to hold those that are trained.

All trained values lie in one vector, so that an optimiser steps once for all of them; `parts` and `sums` are views
into it and into its gradient. Where there is memory, the chosen convolutions are copied whole and updated in
place. Where there is little, only differences are held: frozen weights W stay where they are, and what the chosen
channels differ by, D, is a second small convolution whose output is added to their channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import ConvSpec
from tinytrain_core.engine import ops
from tinytrain_core.engine.delta import Delta

Pair = tuple[Tensor, Tensor]  # weights (k, in / groups, kernel, kernel) and biases (k,)


class FrozenLayers:
    """The backbone's convolutions as they are."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def convolve(self, x: Tensor, conv: ConvSpec) -> Tensor:
        """The output (N, out, H', W') of a convolution, before its activation."""
        return ops.convolve(x, self.backbone.weights[conv.index], self.backbone.biases[conv.index], conv)

    def input_gradient(self, gradient: Tensor, conv: ConvSpec) -> Tensor:
        """dL/dx (N, in, H, W) from dL/dout (N, out, H', W')."""
        return ops.input_gradient(gradient, self.backbone.weights[conv.index], conv)


def _cut(flat: Tensor, backbone: Backbone, rows: Mapping[int, Tensor]) -> dict[int, Pair]:
    """Views into `flat`, one pair for each convolution in `rows`."""
    parts, begin = {}, 0
    for i, chosen in rows.items():
        shape = (len(chosen), *backbone.spec.convs[i].weight_shape[1:])
        weights = len(chosen) * backbone.spec.convs[i].weights_per_channel
        weight = flat[begin : begin + weights].view(shape)
        parts[i] = weight, flat[begin + weights : begin + weights + len(chosen)]
        begin += weights + len(chosen)
    return parts


class TrainedLayers(FrozenLayers, ABC):
    """Convolutions of which the output channels `rows` are trained.

    Attributes:
        flat: the trained values (P,).
        parts: views of it, by convolution index.
        sums: as `parts`, of its gradient; empty until `begin`.
    """

    def __init__(self, backbone: Backbone, rows: Mapping[int, Tensor]) -> None:
        super().__init__(backbone)
        self.rows = rows
        size = sum(len(chosen) * (backbone.spec.convs[i].weights_per_channel + 1) for i, chosen in rows.items())
        self.flat = backbone.weights[0].new_zeros(size)
        self.parts, self.sums = _cut(self.flat, backbone, rows), dict[int, Pair]()

    def begin(self) -> Tensor:
        """Make room for the gradient of `flat`, which is returned, zero."""
        gradient = torch.zeros_like(self.flat)
        self.flat.grad, self.sums = gradient, _cut(gradient, self.backbone, self.rows)
        return gradient

    def end(self) -> None:
        """Give the gradient's memory back."""
        self.flat.grad, self.sums = None, {}

    def all_values(self) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """The trained channels' weights and biases as they stand, by convolution index."""
        values = {index: self.values(index) for index in self.rows}
        return {i: pair[0] for i, pair in values.items()}, {i: pair[1] for i, pair in values.items()}

    def publish(self) -> None:
        """Make the passes see what the optimiser has written."""

    @abstractmethod
    def values(self, index: int) -> Pair:
        """The trained channels as they stand."""


class WorkingCopies(TrainedLayers):
    """Whole copies of the chosen convolutions; the trained vector holds values."""

    def __init__(self, backbone: Backbone, rows: Mapping[int, Tensor]) -> None:
        super().__init__(backbone, rows)
        weights, biases = list(backbone.weights), list(backbone.biases)
        for i, chosen in rows.items():
            weights[i], biases[i] = weights[i].clone(), biases[i].clone()
            for part, whole in zip(self.parts[i], (weights[i], biases[i]), strict=True):
                torch.index_select(whole, 0, chosen, out=part)
        self.backbone = Backbone(backbone.spec, tuple(weights), tuple(biases), backbone.head_scale)

    def publish(self) -> None:
        for i, chosen in self.rows.items():
            weight, bias = self.parts[i]
            self.backbone.weights[i].index_copy_(0, chosen, weight)
            self.backbone.biases[i].index_copy_(0, chosen, bias)

    def values(self, index: int) -> Pair:
        weight, bias = self.parts[index]
        return weight.clone(), bias.clone()


class Differences(TrainedLayers):
    """Nothing but what the chosen channels differ by; the trained vector holds differences, zero at the start."""

    @classmethod
    def holding(cls, backbone: Backbone, delta: Delta) -> "Differences":
        """The backbone with a delta, which is then judged and not trained."""
        layers = cls(backbone, delta.channels)
        for i, chosen in delta.channels.items():
            for part, whole, new in zip(
                layers.parts[i],
                (backbone.weights[i], backbone.biases[i]),
                (delta.weights[i], delta.biases[i]),
                strict=True,
            ):
                torch.sub(new, whole.index_select(0, chosen), out=part)
        return layers

    def convolve(self, x: Tensor, conv: ConvSpec) -> Tensor:
        out = super().convolve(x, conv)
        if conv.index in self.rows:
            chosen = self.rows[conv.index]
            seen = ops.select(x, chosen) if conv.depthwise else x
            out.index_add_(1, chosen, ops.convolve(seen, *self.parts[conv.index], conv))
        return out

    def input_gradient(self, gradient: Tensor, conv: ConvSpec) -> Tensor:
        out = super().input_gradient(gradient, conv)
        if conv.index not in self.rows:
            return out
        chosen, difference = self.rows[conv.index], self.parts[conv.index][0]
        selected = ops.select(gradient, chosen)
        if conv.kernel == 1:
            ops.as_rows(out).addmm_(ops.as_rows(selected), difference.flatten(1))
            return out
        more = ops.input_gradient(selected, difference, conv)
        return out.index_add_(1, chosen, more) if conv.depthwise else out.add_(more)

    def values(self, index: int) -> Pair:
        weight, bias = self.parts[index]
        chosen, frozen = self.rows[index], self.backbone
        return (
            frozen.weights[index].index_select(0, chosen).add_(weight),
            frozen.biases[index].index_select(0, chosen).add_(bias),
        )
