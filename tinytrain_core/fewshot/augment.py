"""Pixel scaling, and the augmentation of PMF's fine-tuning loop (Hu et al. 2022, `pmf_finetune`)."""

from dataclasses import dataclass

import torch
from torch import Tensor

PIXEL_CENTRE = 127.5
INPUT_SCALING = f"RGB from 0 to 255, as x / {PIXEL_CENTRE} - 1"  # `scale_pixels` in words


@dataclass(frozen=True)
class Augmentation:
    """How the pseudo-query images of one step differ from the support.

    Attributes:
        probability: that a step augments at all.
        flip: that a whole batch is mirrored. PMF has 0.5; characters and signs are not symmetric, and on
            validation glyphs mirroring cost 2 to 4 points.
        brightness: added, uniform in +-. saturation, contrast: factors uniform in 1 +-.
        translation: share of the image's side, uniform in +-.
    """

    probability: float = 0.9
    flip: float = 0.0
    brightness: float = 0.5
    saturation: float = 1.0
    contrast: float = 0.5
    translation: float = 0.125


def scale_pixels(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 (N, 3, R, R) to [-1, 1], channels last: x / 127.5 - 1, as the published backbones take it."""
    return images.to(dtype, memory_format=torch.channels_last).div_(PIXEL_CENTRE).sub_(1)


@dataclass(frozen=True)
class Colours:
    """Drawn colour changes of N images, each (N, 1, 1, 1)."""

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor

    def apply(self, images: Tensor, part: slice) -> Tensor:
        """Change images (n, 3, R, R) in [-1, 1], which are the part `part` of the N, in place."""
        images += self.brightness[part].to(images)
        grey = images.mean(1, keepdim=True)
        images.sub_(grey).mul_(self.saturation[part].to(images)).add_(grey)
        mean = images.mean((1, 2, 3), keepdim=True)
        return images.sub_(mean).mul_(self.contrast[part].to(images)).add_(mean)


def draw_colours(n: int, brightness: float, saturation: float, contrast: float, generator: torch.Generator) -> Colours:
    """Brightness added, uniform in +-; saturation and contrast factors uniform in 1 +-."""

    def uniform(centre: float, spread: float) -> Tensor:
        return torch.empty(n, 1, 1, 1).uniform_(centre - spread, centre + spread, generator=generator)

    return Colours(uniform(0, brightness), uniform(1, saturation), uniform(1, contrast))


@dataclass(frozen=True)
class View:
    """One drawn augmentation of N images, so that it can be applied to a few of them at a time.

    Attributes:
        flip: whether all images are mirrored.
        shifts: whole pixels down and right (N, 2).
    """

    flip: bool
    colours: Colours
    shifts: Tensor

    def apply(self, images: Tensor, first: int) -> Tensor:
        """Augment images (n, 3, R, R) in [-1, 1], of which the first is image `first`; colours change in place."""
        part = slice(first, first + len(images))
        if self.flip:
            images = images.flip(3)
        return _translate(self.colours.apply(images, part), self.shifts[part])


def _translate(images: Tensor, shifts: Tensor) -> Tensor:
    """Shift each image by whole pixels, the gap filled with black."""
    side = images.shape[-1]
    out = torch.full_like(images, -1.0)
    for image, target, (down, right) in zip(images, out, shifts.tolist(), strict=True):
        rows, columns = slice(max(down, 0), side + min(down, 0)), slice(max(right, 0), side + min(right, 0))
        from_rows = slice(max(-down, 0), side - max(down, 0))
        from_columns = slice(max(-right, 0), side - max(right, 0))
        target[:, rows, columns] = image[:, from_rows, from_columns]
    return out


def draw_view(n: int, resolution: int, settings: Augmentation, generator: torch.Generator) -> View:
    """An augmentation of n images."""
    flip = float(torch.rand((), generator=generator)) < settings.flip
    colours = draw_colours(n, settings.brightness, settings.saturation, settings.contrast, generator)
    limit = int(resolution * settings.translation)
    return View(flip, colours, torch.randint(-limit, limit + 1, (n, 2), generator=generator))
