"""Forward and backward of the operators that folded backbones are made of, without autograd.

A convolution with bias, mostly followed by ReLU6. Pointwise convolutions are matrix products on the channels-last
view. Backwards there are two halves that are asked for apart: the gradient by the input, and the gradient by the
weights of chosen output channels. Everything works on any device and in any floating-point type.
"""

import torch
from torch import Tensor
from torch.nn import functional

from tinytrain_core.backbones.spec import ConvSpec

_convolution_backward = torch.ops.aten.convolution_backward.default
_hardtanh_backward_ = torch.ops.aten.hardtanh_backward.grad_input
RELU6_LIMIT = 6.0
BITS = 8
LARGE_KERNEL = 5  # from here on ATen's depthwise weight gradient is slower than a convolution with the gradient


def as_rows(x: Tensor) -> Tensor:
    """(N, C, H, W) as the matrix (N H W, C); a view where x is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def as_maps(rows: Tensor, size: int) -> Tensor:
    """The matrix (N H W, C) as channels-last (N, C, size, size); a view."""
    return rows.view(-1, size, size, rows.shape[1]).permute(0, 3, 1, 2)


def select(x: Tensor, channels: Tensor | None) -> Tensor:
    """Chosen channels (k,) of channels-last (N, C, H, W), channels-last themselves; with None x itself."""
    return x if channels is None else as_maps(as_rows(x).index_select(1, channels), x.shape[2])


def _channels_last(x: Tensor) -> Tensor:
    """The same maps channels-last: as they are in single precision, copied where a library chose otherwise."""
    return x.contiguous(memory_format=torch.channels_last)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, conv: ConvSpec) -> Tensor:
    """Convolution and bias: channels-last (N, in, H, W) to (N, out, H', W').

    Args:
        weight: of all output channels, or of some; for a depthwise convolution x then has the same channels only.
    """
    if conv.kernel > 1:
        groups = len(weight) if conv.depthwise else 1
        return _channels_last(functional.conv2d(x, weight, bias, conv.stride, conv.padding, 1, groups))
    matrix = weight.flatten(1).t()
    rows = as_rows(x)
    return as_maps(rows @ matrix if bias is None else torch.addmm(bias, rows, matrix), conv.out_size)


def relu6_(x: Tensor) -> Tensor:
    """ReLU6 in place."""
    return x.clamp_(0, RELU6_LIMIT)


def relu6_backward_(gradient: Tensor, kept: Tensor) -> Tensor:
    """Set the gradient (N, C, H, W) to zero, in place, where ReLU6 is flat, as autograd decides at the kinks.

    Args:
        kept: the output of the ReLU6, or its mask as `packed_mask` makes it.
    """
    if kept.dtype == torch.uint8:
        return _mask_(gradient, kept)
    _hardtanh_backward_(gradient, kept, 0.0, RELU6_LIMIT, grad_input=gradient)
    return gradient


def packed_mask(output: Tensor) -> Tensor:
    """Where ReLU6 lets a gradient through, from its output (N, C, H, W): one bit each, uint8 (ceil(N C H W / 8),)."""
    flat = as_rows(output).reshape(-1)
    mask = flat > 0
    mask &= flat < RELU6_LIMIT
    parts = mask.view(torch.uint8).split(_packed_length(len(flat)))
    packed: Tensor = parts[0].clone()
    for bit, part in enumerate(parts[1:], 1):
        packed[: len(part)].add_(part, alpha=1 << bit)
    return packed


def _packed_length(elements: int) -> int:
    return -(-elements // BITS)


def _mask_(gradient: Tensor, packed: Tensor) -> Tensor:
    for bit, part in enumerate(as_rows(gradient).view(-1).split(len(packed))):
        part.masked_fill_(packed[: len(part)].bitwise_and(1 << bit) == 0, 0)
    return gradient


def input_gradient(gradient: Tensor, weight: Tensor, conv: ConvSpec) -> Tensor:
    """dL/dx (N, in, H, W) from dL/dout (N, out, H', W'); `weight` may be of some channels, as `convolve` takes it."""
    if conv.kernel == 1:
        return as_maps(as_rows(gradient) @ weight.flatten(1), conv.in_size)
    if conv.depthwise:
        return _channels_last(_depthwise_input_gradient(gradient, weight, conv))
    return _channels_last(_dense_input_gradient(gradient, weight, conv))


def _depthwise_input_gradient(gradient: Tensor, weight: Tensor, conv: ConvSpec) -> Tensor:
    if conv.stride == 1:
        return functional.conv2d(gradient, weight.flip(2, 3), None, 1, conv.padding, 1, len(weight))
    beyond = (conv.in_size + 2 * conv.padding - conv.kernel) % conv.stride
    return functional.conv_transpose2d(gradient, weight, None, conv.stride, conv.padding, beyond, len(weight))


def _dense_input_gradient(gradient: Tensor, weight: Tensor, conv: ConvSpec) -> Tensor:
    # Only the shape of the input matters to this half, so a single expanded element stands in for it.
    x = gradient.new_empty(1).expand((len(gradient), conv.in_channels, conv.in_size, conv.in_size))
    return _backward(gradient, x, weight, conv, 1, by_weight=False)


def add_parameter_gradients(
    by_weight: Tensor, by_bias: Tensor, chosen: Tensor, x: Tensor | None, conv: ConvSpec
) -> None:
    """Add the gradients of k output channels to `by_weight` (k, j, kernel, kernel) and `by_bias` (k,).

    Args:
        chosen: dL/dout of these channels before the activation, (N, k, H', W').
        x: the j input channels (N, j, H, W) that these weights come from; for a depthwise convolution the same k as the
            output's. None leaves the weights' gradients alone.
    """
    rows = as_rows(chosen)
    by_bias += rows.sum(0)
    if x is None:
        return
    if conv.kernel == 1:
        by_weight.view(len(by_weight), -1).addmm_(rows.t(), as_rows(x))
    elif conv.depthwise and conv.kernel >= LARGE_KERNEL:
        by_weight += _depthwise_weight_gradient(chosen, x, conv)
    else:
        groups = len(by_weight) if conv.depthwise else 1
        by_weight += _backward(chosen, x, by_weight, conv, groups, by_weight=True)


def _depthwise_weight_gradient(gradient: Tensor, x: Tensor, conv: ConvSpec) -> Tensor:
    """dL/dw (k, 1, kernel, kernel): each image's channel convolved with its own gradient, then summed over images."""
    n, k = gradient.shape[:2]
    maps = x.contiguous().view(1, n * k, conv.in_size, conv.in_size)
    filters = gradient.contiguous().view(n * k, 1, conv.out_size, conv.out_size)
    found = functional.conv2d(maps, filters, None, 1, conv.padding, conv.stride, n * k)
    return found[:, :, : conv.kernel, : conv.kernel].view(n, k, 1, conv.kernel, conv.kernel).sum(0)


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, conv: ConvSpec, groups: int, *, by_weight: bool) -> Tensor:
    stride, padding = [conv.stride] * 2, [conv.padding] * 2
    wanted = [not by_weight, by_weight, False]
    result: tuple[Tensor, Tensor, Tensor] = _convolution_backward(
        gradient, x, weight, None, stride, padding, [1, 1], False, [0, 0], groups, wanted
    )
    return result[int(by_weight)]
