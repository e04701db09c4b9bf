"""The trainable network with BatchNorm, for pre-training only; everything later uses the folded form."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec


class ConvNorm(nn.Module):
    """Convolution, BatchNorm and, where the spec has it, ReLU6."""

    def __init__(self, spec: ConvSpec) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            spec.in_channels, spec.out_channels, spec.kernel, spec.stride, spec.padding, groups=spec.groups, bias=False
        )
        self.norm = nn.BatchNorm2d(spec.out_channels)
        self.relu6 = spec.relu6
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return nn.functional.relu6(x, inplace=True) if self.relu6 else x


class NormNetwork(nn.Module):
    """A backbone with BatchNorm: images (N, 3, R, R) in [-1, 1] to embeddings (N, feature_dim)."""

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec
        self.layers = cast(Iterable[ConvNorm], nn.ModuleList(ConvNorm(conv) for conv in spec.convs))

    def forward(self, x: Tensor) -> Tensor:
        skip = x
        for conv, layer in zip(self.spec.convs, self.layers, strict=True):
            if conv.opens_residual:
                skip = x
            x = layer(x)
            if conv.closes_residual:
                x = x + skip
        return torch.mean(x, (2, 3))
