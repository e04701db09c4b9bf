"""Forward and backward of the one compound operator that folded backbones are made of, without autograd.

A convolution with bias and, mostly, ReLU6. Backwards there are two halves that are asked for apart: the
gradient by the input, and the gradient by the weights of chosen output channels only.
"""

import torch
from torch import Tensor
from torch.nn import functional

from tinytrain_core.backbones.spec import ConvSpec

_backward = torch.ops.aten.convolution_backward.default
RELU6_LIMIT = 6.0


def conv_forward(x: Tensor, weight: Tensor, bias: Tensor, conv: ConvSpec) -> Tensor:
    """Convolution, bias and ReLU6: (N, in, H, W) to (N, out, H', W')."""
    out = functional.conv2d(x, weight, bias, conv.stride, conv.padding, 1, conv.groups)
    return out.clamp_(0, RELU6_LIMIT) if conv.relu6 else out


def relu6_mask(output: Tensor) -> Tensor:
    """Where ReLU6 lets a gradient through, from its output: bool, as autograd decides at the kinks."""
    return (output > 0) & (output < RELU6_LIMIT)


def input_gradient(gradient: Tensor, weight: Tensor, conv: ConvSpec) -> Tensor:
    """dL/dx (N, in, H, W) from dL/dout (N, out, H', W')."""
    # Only the shape of the input matters to this half, so a single expanded element stands in for it.
    shape = (len(gradient), conv.in_channels, conv.in_size, conv.in_size)
    stand_in = gradient.new_empty(1).expand(shape)
    return _grads(gradient, stand_in, weight, conv, conv.groups, [True, False, False])[0]


def needed_input(x: Tensor, conv: ConvSpec, channels: Tensor) -> Tensor:
    """The part of the input that the weight gradient of output `channels` (k,) needs."""
    return x.index_select(1, channels) if conv.depthwise else x


def parameter_gradients(
    gradient: Tensor, needed: Tensor, weight: Tensor, conv: ConvSpec, channels: Tensor
) -> tuple[Tensor, Tensor]:
    """dL/dw (k, in / groups, kernel, kernel) and dL/db (k,) of the output channels `channels` (k,).

    Args:
        gradient: dL/dout (N, out, H', W') before the activation.
        needed: what `needed_input` gave for the same channels.
    """
    chosen = gradient.index_select(1, channels)
    groups = len(channels) if conv.depthwise else 1
    by_weight = _grads(chosen, needed, weight.index_select(0, channels), conv, groups, [False, True, False])[1]
    return by_weight, chosen.sum((0, 2, 3))


def _grads(
    gradient: Tensor, x: Tensor, weight: Tensor, conv: ConvSpec, groups: int, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    stride, padding = [conv.stride] * 2, [conv.padding] * 2
    result: tuple[Tensor, Tensor, Tensor] = _backward(
        gradient, x, weight, None, stride, padding, [1, 1], False, [0, 0], groups, wanted
    )
    return result
