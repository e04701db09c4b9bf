"""A writer's hand: how one person slants, weights, sizes, inks and smudges every character they write."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Hand:
    """The style of one writer, or of one character that they wrote.

    Attributes:
        slant: horizontal shear. rotation: radians. size: of the character against its mask.
        aspect: width against height. shift: (x, y) in half-images.
        weight: from -1 (thin) over 0 (as the typeface) to 2 (bold). blur: 0 sharp to 1.
        ink, paper: RGB in [0, 1]. shade: strength and angle of a gradient on the paper.
        mottle: strength of coarse stains. noise: standard deviation per pixel.
    """

    slant: float
    rotation: float
    size: float
    aspect: float
    shift: tuple[float, float]
    weight: float
    blur: float
    ink: tuple[float, float, float]
    paper: tuple[float, float, float]
    shade: tuple[float, float]
    mottle: float
    noise: float


def _rgb(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = np.clip(values, 0, 1).tolist()
    return red, green, blue


def _colours(rng: np.random.Generator, least_contrast: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ink and paper that differ in brightness by at least `least_contrast`."""
    while True:
        ink, paper = rng.uniform(0, 1, 3), rng.uniform(0, 1, 3)
        if abs(ink.mean() - paper.mean()) >= least_contrast:
            return ink, paper


def draw_hand(rng: np.random.Generator, eccentricity: float = 0.0) -> Hand:
    """A new writer.

    Args:
        eccentricity: how much wider than usual every range is; with 1, twice as wide.
    """
    e = eccentricity
    ink, paper = _colours(rng, 0.3 / (1 + e))
    return Hand(
        slant=float(rng.normal(0, 0.2 * (1 + e))),
        rotation=float(rng.normal(0, 0.1 * (1 + e))),
        size=float(rng.uniform(0.7 - 0.2 * e, 1.15 + 0.1 * e)),
        aspect=float(rng.uniform(0.75 - 0.15 * e, 1.25 + 0.25 * e)),
        shift=(0.0, 0.0),
        weight=float(rng.uniform(-0.8 - 0.6 * e, 1.8 + 1.2 * e)),
        blur=float(rng.uniform(0, 1)),
        ink=_rgb(ink),
        paper=_rgb(paper),
        shade=(float(rng.uniform(0, 0.25 * (1 + e))), float(rng.uniform(0, 2 * math.pi))),
        mottle=float(rng.uniform(0, 0.2 * (1 + e))),
        noise=float(rng.uniform(0.01, 0.1 * (1 + e))),
    )


def jitter_hand(hand: Hand, rng: np.random.Generator) -> Hand:
    """The same writer on one occasion: nobody writes a character twice alike."""
    return replace(
        hand,
        slant=hand.slant + float(rng.normal(0, 0.06)),
        rotation=hand.rotation + float(rng.normal(0, 0.06)),
        size=hand.size * float(rng.uniform(0.88, 1.12)),
        aspect=hand.aspect * float(rng.uniform(0.9, 1.1)),
        shift=(float(rng.uniform(-0.12, 0.12)), float(rng.uniform(-0.12, 0.12))),
        weight=hand.weight + float(rng.normal(0, 0.2)),
        ink=_rgb(np.array(hand.ink) + rng.normal(0, 0.04, 3)),
        paper=_rgb(np.array(hand.paper) + rng.normal(0, 0.06, 3)),
        shade=(hand.shade[0], float(rng.uniform(0, 2 * math.pi))),
    )


def _press(mask: Tensor, weight: float) -> Tensor:
    """Thicken or thin the strokes of (1, S, S) by up to two pixels, in steps that blend."""
    sign = 1.0 if weight > 0 else -1.0
    remaining = min(abs(weight), 2.0)
    while remaining > 0:
        moved = sign * functional.max_pool2d(sign * mask[None], 3, 1, 1)[0]
        mask = torch.lerp(mask, moved, min(remaining, 1.0))
        remaining -= 1.0
    return mask


def _place(mask: Tensor, hand: Hand, resolution: int) -> Tensor:
    """Shear, rotate, scale and shift (1, S, S) onto (1, resolution, resolution)."""
    cos, sin = math.cos(hand.rotation), math.sin(hand.rotation)
    forward = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, -hand.slant], [0, 1]])
    forward = forward @ np.diag([hand.size * hand.aspect, hand.size])
    inverse = np.linalg.inv(forward)
    offset = -inverse @ np.array(hand.shift)
    theta = torch.tensor(np.column_stack([inverse, offset]), dtype=torch.float32)[None]
    grid = functional.affine_grid(theta, [1, 1, resolution, resolution], align_corners=False)
    return functional.grid_sample(mask[None], grid, align_corners=False)[0]


def _paper(hand: Hand, rng: np.random.Generator, resolution: int) -> Tensor:
    """The background (3, resolution, resolution)."""
    axis = torch.linspace(-1, 1, resolution)
    strength, angle = hand.shade
    shade = strength * (math.cos(angle) * axis[None, :] + math.sin(angle) * axis[:, None])
    stains = torch.from_numpy(rng.normal(0, hand.mottle, (1, 3, 6, 6)).astype(np.float32))
    stains = functional.interpolate(stains, (resolution, resolution), mode="bilinear")[0]
    return torch.tensor(hand.paper)[:, None, None] + shade + stains


def write(mask: Tensor, hand: Hand, rng: np.random.Generator, resolution: int) -> Tensor:
    """Write a character mask (1, S, S) in [0, 1] in this hand: uint8 (3, resolution, resolution)."""
    stroke = _place(_press(mask, hand.weight), hand, resolution)
    stroke = torch.lerp(stroke, functional.avg_pool2d(stroke[None], 5, 1, 2)[0], hand.blur)
    image = torch.lerp(_paper(hand, rng, resolution), torch.tensor(hand.ink)[:, None, None], stroke)
    noise = torch.from_numpy(rng.standard_normal((1, resolution, resolution), np.float32))
    return (image.add_(noise, alpha=hand.noise).clamp_(0, 1) * 255).to(torch.uint8)
