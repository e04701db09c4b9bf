"""Each operator's forward and backward, against autograd."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine import ops
from tinytrain_core.seeds import torch_generator


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("conv_index", range(16))
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 2e-4)])
def test_operator_gradients_equal_autograd(small: Backbone, conv_index: int, dtype: torch.dtype, within: float) -> None:
    conv = small.spec.convs[conv_index]
    weight, bias = small.weights[conv_index].to(dtype), small.biases[conv_index].to(dtype)
    random = torch_generator(conv_index)
    x = channels_last(
        torch.randn(3, conv.in_channels, conv.in_size, conv.in_size, dtype=dtype, generator=random)
    ).requires_grad_()
    w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    out = functional.conv2d(x, w, b, conv.stride, conv.padding, 1, conv.groups)
    out = functional.relu6(out) if conv.relu6 else out
    upstream = channels_last(torch.randn(out.shape, dtype=dtype, generator=random))
    expected = torch.autograd.grad(out, (x, w, b), upstream)

    with torch.no_grad():
        ours = ops.convolve(x, weight, bias, conv)
        ours = ops.relu6_(ours) if conv.relu6 else ours
        masked = ops.relu6_backward_(upstream.clone(), ours) if conv.relu6 else upstream
        channels = torch.arange(1, conv.out_channels, 2)
        by_weight, by_bias = torch.zeros_like(weight[channels]), torch.zeros_like(bias[channels])
        needed = x[:, channels] if conv.depthwise else x
        ops.add_parameter_gradients(by_weight, by_bias, masked.index_select(1, channels), needed, conv)
        pairs = [
            (ours, out),
            (ops.input_gradient(masked, weight, conv), expected[0]),
            (by_weight, expected[1][channels]),
            (by_bias, expected[2][channels]),
        ]
        for found, wanted in pairs:
            assert torch.allclose(found, wanted, atol=within * max(1.0, float(wanted.abs().max())), rtol=0)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 8, 5, 5), (3, 7, 3, 3)])
def test_packed_masks_do_what_whole_ones_do(shape: tuple[int, int, int, int]) -> None:
    output = channels_last(torch.randn(shape).mul_(4).add_(3).clamp_(0, 6))
    gradient = channels_last(torch.randn(shape))
    packed = ops.packed_mask(output)
    assert packed.numel() == -(-output.numel() // 8)
    masked = ops.relu6_backward_(gradient.clone(), packed)
    assert torch.equal(masked, ops.relu6_backward_(gradient.clone(), output))
    assert torch.equal(masked, gradient * ((output > 0) & (output < 6)))
