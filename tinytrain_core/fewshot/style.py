"""A camera of one's own: what a user's images have in common that nobody else's have."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

BRIGHTNESS, CONTRAST, HUE, NOISE = 0.3, 0.5, math.pi / 2, 0.08  # at full strength, the farthest
AT_ONCE = 64  # images whose pixels are floating-point numbers at one time
# RGB to luma and two colour axes (NTSC's YIQ, FCC 1953), in which a rotation of the axes turns the hue.
YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=torch.float64)


@dataclass(frozen=True)
class Style:
    """How a camera sees.

    Attributes:
        brightness: added to values from 0 to 1. contrast: factor around the middle. hue: radians.
        blur: from 0 to 1, how much of each pixel is its neighbourhood's mean. noise: standard deviation of a pixel.
    """

    brightness: float
    contrast: float
    hue: float
    blur: float
    noise: float

    def apply(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Images uint8 (N, 3, R, R) as this camera sees them, the same type and shape; `rng` draws the noise."""
        return torch.cat([self._see(part, rng) for part in images.split(AT_ONCE)])

    def _see(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        seen = torch.einsum("ij,njhw->nihw", self._turn(), images.float() / 255)
        seen = (seen - 0.5) * self.contrast + 0.5 + self.brightness
        mean = functional.avg_pool2d(functional.pad(seen, (2, 2, 2, 2), mode="replicate"), 5, 1)
        seen = torch.lerp(seen, mean, self.blur)
        noise = torch.from_numpy(rng.standard_normal(seen.shape, np.float32))
        return (seen.add_(noise, alpha=self.noise).clamp_(0, 1) * 255).round_().to(torch.uint8)

    def _turn(self) -> Tensor:
        """The matrix (3, 3) that turns the hue of RGB values."""
        cos, sin = math.cos(self.hue), math.sin(self.hue)
        turn = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
        matrix: Tensor = torch.linalg.inv(YIQ) @ turn @ YIQ
        return matrix.float()


def draw_style(strength: float, rng: np.random.Generator) -> Style:
    """A camera, no farther from a perfect one than `strength` of the farthest there is."""

    def uniform(limit: float) -> float:
        return float(rng.uniform(-limit, limit)) * strength

    return Style(
        brightness=uniform(BRIGHTNESS),
        contrast=1 + uniform(CONTRAST),
        hue=uniform(HUE),
        blur=float(rng.uniform(0, 1)) * strength,
        noise=float(rng.uniform(0, NOISE)) * strength,
    )
