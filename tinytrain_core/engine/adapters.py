"""TinyTL's lite residual (Cai et al. 2020): a small branch beside a block, added to its output and trained whole.

    average pool by 2 -> convolution in 2 groups -> group norm -> ReLU -> 1x1 convolution -> group norm -> bilinear to
    the block's output size

Group norms have 8 channels a group and the convolutions standardised weights, so that images stay independent of each
other. The last norm's scale begins at zero: an untrained branch adds nothing. It has no bias beside that of the block.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.seeds import Draw, torch_generator

POOL = 2
CONV_GROUPS = 2
LARGEST_KERNEL = 5
GROUP_CHANNELS = 8
SMALLEST_DEVIATION = 1e-5


@dataclass(frozen=True)
class LiteShape:
    """The shape of the branch beside one block; it is as wide as the block's input."""

    block: int
    in_channels: int
    out_channels: int
    stride: int
    in_size: int
    out_size: int

    @property
    def pooled(self) -> int:
        """The side of the pooled map."""
        return max(self.in_size // POOL, 1)

    @property
    def kernel(self) -> int:
        """The largest odd kernel that the pooled map holds, 5 at most."""
        return min(LARGEST_KERNEL, self.pooled - 1 + self.pooled % 2)

    @property
    def inner(self) -> int:
        """The side of the map behind the first convolution."""
        return (self.pooled + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the parameters: spatial weights, scale and bias of the inner norm, 1x1 weights, scale of the last norm."""
        wide, out = self.in_channels, self.out_channels
        return (wide, wide // CONV_GROUPS, self.kernel, self.kernel), (wide,), (wide,), (out, wide, 1, 1), (out,)

    @property
    def weights(self) -> int:
        """Weights of the two convolutions."""
        return math.prod(self.shapes[0]) + math.prod(self.shapes[3])

    @property
    def parameters(self) -> int:
        return sum(map(math.prod, self.shapes))

    @property
    def macs(self) -> int:
        """Of the forward pass of one image."""
        return self.weights * self.inner**2


def lite_shape(spec: BackboneSpec, block: int) -> LiteShape:
    """The branch that fits beside a block."""
    convs = [conv for conv in spec.convs if conv.block == block]
    first, last = convs[0], convs[-1]
    stride = math.prod(conv.stride for conv in convs)
    return LiteShape(block, first.in_channels, last.out_channels, stride, first.in_size, last.out_size)


def initial(shape: LiteShape) -> list[Tensor]:
    """Parameters as they start: He et al.'s normal weights, the same in every place; the last norm's scale is zero."""
    generator = torch_generator(0, Draw.ADAPTER, shape.block)
    values = [torch.ones(wanted) for wanted in shape.shapes]
    for index in (0, 3):
        fan_in = math.prod(shape.shapes[index][1:])
        values[index].normal_(0, math.sqrt(2 / fan_in), generator=generator)
    values[2].zero_()
    values[4].zero_()
    return values


def norm_groups(channels: int) -> int:
    """Groups of a norm: of 8 channels each, or of more where that does not go."""
    return math.gcd(channels, max(channels // GROUP_CHANNELS, 1))


def _standardised(weight: Tensor) -> Tensor:
    """Weights of each output channel with mean 0 and deviation 1 / sqrt(fan in)."""
    flat = weight.flatten(1)
    deviation = flat.std(1, correction=0, keepdim=True) * math.sqrt(flat.shape[1])
    return ((flat - flat.mean(1, keepdim=True)) / (deviation + SMALLEST_DEVIATION)).view_as(weight)


def branch(x: Tensor, parameters: Sequence[Tensor], shape: LiteShape) -> Tensor:
    """What the branch adds to the block's output, (N, out, H', W'), from the block's input (N, in, H, W)."""
    spatial, scale, bias, point, last_scale = parameters
    pooled = functional.avg_pool2d(x, POOL) if shape.in_size > 1 else x
    hidden = functional.conv2d(pooled, _standardised(spatial), None, shape.stride, shape.kernel // 2, 1, CONV_GROUPS)
    hidden = functional.relu(functional.group_norm(hidden, norm_groups(shape.in_channels), scale, bias))
    out = functional.conv2d(hidden, _standardised(point))
    out = functional.group_norm(out, norm_groups(shape.out_channels), last_scale)
    if shape.inner == shape.out_size:
        return out
    return functional.interpolate(out, size=shape.out_size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class TapedBranch:
    """One forward pass of a branch that can go backwards, once."""

    inputs: tuple[Tensor, ...]
    output: Tensor

    @classmethod
    def forward(cls, x: Tensor, parameters: Sequence[Tensor], shape: LiteShape) -> "TapedBranch":
        inputs = tuple(tensor.detach().requires_grad_() for tensor in (x, *parameters))
        with torch.enable_grad():
            return cls(inputs, branch(inputs[0], inputs[1:], shape))

    def backward(self, gradient: Tensor) -> tuple[Tensor, ...]:
        """The gradients by the block's input and by the parameters, from that by the branch's output."""
        return torch.autograd.grad(self.output, self.inputs, gradient)
