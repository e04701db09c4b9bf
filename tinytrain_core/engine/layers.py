"""The weights that the tail runs with: frozen ones, and two ways to hold those that are trained.

All trained values lie in one vector, so that an optimiser steps once for all of them; `parts` and `sums` are views
into it and into its gradient. Where there is memory, the chosen convolutions are copied whole and updated in
place. Where there is little, only differences are held: frozen weights W stay where they are, and what the chosen
channels differ by, D, is a second small convolution whose output is added to their channels.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import ConvSpec
from tinytrain_core.engine import ops
from tinytrain_core.engine.delta import Delta
from tinytrain_core.engine.update import Chosen

Pair = tuple[Tensor, Tensor]  # weights (k, j, kernel, kernel) and biases (k,)
Branches = Mapping[int, Sequence[Tensor]]  # parameters of the lite residual beside a block, by block


class FrozenLayers:
    """The backbone's convolutions as they are.

    Attributes:
        branches: lite residuals; empty where there are none.
    """

    def __init__(self, backbone: Backbone, branches: Branches | None = None) -> None:
        self.backbone, self.branches = backbone, branches or {}

    def convolve(self, x: Tensor, conv: ConvSpec) -> Tensor:
        """The output (N, out, H', W') of a convolution, before its activation."""
        return ops.convolve(x, self.backbone.weights[conv.index], self.backbone.biases[conv.index], conv)

    def input_gradient(self, gradient: Tensor, conv: ConvSpec) -> Tensor:
        """dL/dx (N, in, H, W) from dL/dout (N, out, H', W')."""
        return ops.input_gradient(gradient, self.backbone.weights[conv.index], conv)


Shapes = Sequence[tuple[int, ...]]


def _cut(flat: Tensor, shapes: Shapes) -> list[Tensor]:
    """Views into `flat`, one after the other."""
    ends = list(accumulate(map(math.prod, shapes), initial=0))
    return [flat[begin:end].view(shape) for begin, end, shape in zip(ends, ends[1:], shapes, strict=False)]


class TrainedLayers(FrozenLayers, ABC):
    """Convolutions of which some channels are trained, and lite residuals.

    Attributes:
        flat: the trained values (P,).
        parts: views of it, by convolution index.
        sums, branch_sums: as `parts` and `branches`, of its gradient; empty until `begin`.
    """

    def __init__(self, backbone: Backbone, rows: Mapping[int, Chosen], branches: Branches | None = None) -> None:
        super().__init__(backbone)
        self.rows, self._starts = rows, branches or {}
        self.flat = backbone.weights[0].new_zeros(sum(map(math.prod, self._shapes())))
        self.parts, self.branches = self._views(self.flat)
        for block, values in self._starts.items():
            for part, value in zip(self.branches[block], values, strict=True):
                part.copy_(value)
        self.sums: dict[int, Pair] = {}
        self.branch_sums: Branches = {}

    def _shapes(self) -> Shapes:
        convs = self.backbone.spec.convs
        shapes: list[tuple[int, ...]] = []
        for i, chosen in self.rows.items():
            shapes += [chosen.shape(convs[i]), (len(chosen.outputs),)]
        return shapes + [tuple(value.shape) for values in self._starts.values() for value in values]

    def _views(self, flat: Tensor) -> tuple[dict[int, Pair], Branches]:
        views = iter(_cut(flat, self._shapes()))
        pairs = {i: (next(views), next(views)) for i in self.rows}
        return pairs, {block: [next(views) for _ in values] for block, values in self._starts.items()}

    def begin(self) -> Tensor:
        """Make room for the gradient of `flat`, which is returned, zero."""
        gradient = torch.zeros_like(self.flat)
        self.flat.grad = gradient
        self.sums, self.branch_sums = self._views(gradient)
        return gradient

    def end(self) -> None:
        """Give the gradient's memory back."""
        self.flat.grad, self.sums, self.branch_sums = None, {}, {}

    def delta(self) -> Delta:
        """The trained values as they stand."""
        values = {index: self.values(index) for index in self.rows}
        weights, biases = ({i: pair[side] for i, pair in values.items()} for side in (0, 1))
        branches = {block: [value.clone() for value in each] for block, each in self.branches.items()}
        return Delta(self.backbone.spec, self.rows, weights, biases, branches)

    def publish(self) -> None:
        """Make the passes see what the optimiser has written."""

    @abstractmethod
    def values(self, index: int) -> Pair:
        """The trained channels as they stand."""


class WorkingCopies(TrainedLayers):
    """Whole copies of the chosen convolutions; the trained vector holds values."""

    def __init__(self, backbone: Backbone, rows: Mapping[int, Chosen], branches: Branches | None = None) -> None:
        super().__init__(backbone, rows, branches)
        weights, biases = list(backbone.weights), list(backbone.biases)
        for i, chosen in rows.items():
            weight, bias = self.parts[i]
            biases[i] = biases[i].clone()
            torch.index_select(biases[i], 0, chosen.outputs, out=bias)
            if not chosen.biases_only:
                weights[i] = weights[i].clone()
                weight.copy_(chosen.read(weights[i]))
        self.backbone = Backbone(backbone.spec, tuple(weights), tuple(biases), backbone.head_scale)

    def publish(self) -> None:
        for i, chosen in self.rows.items():
            weight, bias = self.parts[i]
            self.backbone.biases[i].index_copy_(0, chosen.outputs, bias)
            if not chosen.biases_only:
                chosen.write_(self.backbone.weights[i], weight)

    def values(self, index: int) -> Pair:
        weight, bias = self.parts[index]
        return weight.clone(), bias.clone()


class Differences(TrainedLayers):
    """Nothing but what the chosen channels differ by; the trained vector holds differences, zero at the start.

    Lite residuals are held as they are.
    """

    @classmethod
    def holding(cls, backbone: Backbone, delta: Delta) -> "Differences":
        """The backbone with a delta, which is then judged and not trained."""
        layers = cls(backbone, delta.rows, delta.branches)
        for i, chosen in delta.rows.items():
            weight, bias = layers.parts[i]
            torch.sub(delta.weights[i], chosen.read(backbone.weights[i]), out=weight)
            torch.sub(delta.biases[i], backbone.biases[i].index_select(0, chosen.outputs), out=bias)
        return layers

    def convolve(self, x: Tensor, conv: ConvSpec) -> Tensor:
        out = super().convolve(x, conv)
        if conv.index not in self.rows:
            return out
        chosen, (weight, bias) = self.rows[conv.index], self.parts[conv.index]
        if chosen.biases_only:
            rows = ops.as_rows(out)
            rows.index_add_(1, chosen.outputs, bias.expand(len(rows), -1))
            return out
        seen = ops.select(x, chosen.outputs) if conv.depthwise else ops.select(x, chosen.inputs)
        return out.index_add_(1, chosen.outputs, ops.convolve(seen, weight, bias, conv))

    def input_gradient(self, gradient: Tensor, conv: ConvSpec) -> Tensor:
        out = super().input_gradient(gradient, conv)
        if conv.index not in self.rows or self.rows[conv.index].biases_only:
            return out
        chosen, difference = self.rows[conv.index], self.parts[conv.index][0]
        selected = ops.select(gradient, chosen.outputs)
        if conv.kernel == 1:
            self._add_rows(ops.as_rows(out), ops.as_rows(selected), difference.flatten(1), chosen)
            return out
        more = ops.input_gradient(selected, difference, conv)
        return out.index_add_(1, chosen.outputs, more) if conv.depthwise else out.add_(more)

    @staticmethod
    def _add_rows(out: Tensor, selected: Tensor, difference: Tensor, chosen: Chosen) -> None:
        if chosen.inputs is None:
            out.addmm_(selected, difference)
        else:
            out.index_add_(1, chosen.inputs, selected @ difference)

    def values(self, index: int) -> Pair:
        weight, bias = self.parts[index]
        chosen, frozen = self.rows[index], self.backbone
        return (
            chosen.read(frozen.weights[index]).add_(weight),
            frozen.biases[index].index_select(0, chosen.outputs).add_(bias),
        )
