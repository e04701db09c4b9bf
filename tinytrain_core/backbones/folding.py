"""The folded backbone, and BatchNorm folding: w' = w * s, b' = beta - mu * s, s = gamma / sqrt(var + eps)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tinytrain_core.backbones.network import NormNetwork
from tinytrain_core.backbones.spec import BackboneSpec


@dataclass(frozen=True)
class Backbone:
    """A folded backbone: one weight and one bias per convolution, and the scale of the cosine head.

    Attributes:
        weights: per convolution (out, in / groups, kernel, kernel).
        biases: per convolution (out,).
        head_scale: the factor on cosine similarities, learned in meta-training.
    """

    spec: BackboneSpec
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    head_scale: float = 10.0

    def to(self, dtype: torch.dtype) -> "Backbone":
        """The same backbone in another floating-point type."""
        weights = tuple(w.to(dtype) for w in self.weights)
        return Backbone(self.spec, weights, tuple(b.to(dtype) for b in self.biases), self.head_scale)

    def on(self, device: torch.device) -> "Backbone":
        """The same backbone in the memory of another device."""
        weights = tuple(w.to(device) for w in self.weights)
        return Backbone(self.spec, weights, tuple(b.to(device) for b in self.biases), self.head_scale)

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Apply convolutions `start` to `stop` (exclusive; by default to the end), which open and close blocks.

        Args:
            x: (N, in_channels, H, W) of convolution `start`; for `start` 0, images in [-1, 1].

        Returns:
            The feature map (N, out_channels, H', W') after convolution `stop - 1`.
        """
        skip = None
        for conv in self.spec.convs[start:stop]:
            if conv.opens_residual:
                skip = x
            x = functional.conv2d(
                x, self.weights[conv.index], self.biases[conv.index], conv.stride, conv.padding, 1, conv.groups
            )
            if conv.relu6:
                x = functional.relu6(x) if x.requires_grad else x.clamp_(0, 6)
            if conv.closes_residual and skip is not None:
                x = x + skip if x.requires_grad else x.add_(skip)
                skip = None
        return x

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, feature_dim) of images (N, 3, R, R) in [-1, 1]."""
        return self.run(images).mean((2, 3))


def fold(network: NormNetwork, head_scale: float = 10.0) -> Backbone:
    """Fold the running statistics of every BatchNorm into its convolution.

    The result equals `network.eval()` up to rounding.
    """
    weights, biases = [], []
    for layer in network.layers:
        norm = layer.norm
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        weights.append((layer.conv.weight * scale[:, None, None, None]).detach().clone())
        biases.append((norm.bias - mean * scale).detach().clone())
    return Backbone(network.spec, tuple(weights), tuple(biases), head_scale)
