"""How training images are varied: random resized crop, mirror, colour.

After PMF's training transform (Hu et al. 2022); brightness is added, and nothing filters before a reduction.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tinytrain_core.fewshot.augment import Colours, draw_colours
from tinytrain_core.meta_training.settings import TrainingData


@dataclass(frozen=True)
class Variation:
    """One drawn variation of N images.

    Attributes:
        crops: the affine maps (N, 2, 3) from output to input positions in [-1, 1].
    """

    crops: Tensor
    colours: Colours

    def apply(self, images: Tensor, resolution: int) -> Tensor:
        """Crop images (N, 3, S, S) in [-1, 1] to (N, 3, resolution, resolution), and colour them."""
        grid = functional.affine_grid(
            self.crops.to(images), [len(images), 3, resolution, resolution], align_corners=False
        )
        cropped = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        coloured = self.colours.apply(cropped, slice(None))
        return coloured.clamp_(-1, 1).contiguous(memory_format=torch.channels_last)


def draw_variation(n: int, data: TrainingData, generator: torch.Generator) -> Variation:
    """Draw for n images: area uniform, aspect log-uniform, place uniform; sides are cut to the image."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(n).uniform_(low, high, generator=generator)

    area = uniform(data.least_area, 1.0)
    aspect = torch.exp(uniform(-math.log(data.stretch), math.log(data.stretch)))
    width, height = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
    mirrored = torch.where(torch.rand(n, generator=generator) < data.flip, -1.0, 1.0)
    crops = torch.zeros(n, 2, 3)
    crops[:, 0, 0], crops[:, 0, 2] = width * mirrored, uniform(-1, 1) * (1 - width)
    crops[:, 1, 1], crops[:, 1, 2] = height, uniform(-1, 1) * (1 - height)
    colours = draw_colours(n, data.colour, data.colour, data.colour, generator)
    colours.saturation[torch.rand(n, generator=generator) < data.grey] = 0
    return Variation(crops, colours)
