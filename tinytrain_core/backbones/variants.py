"""Architectures that follow from others: one without its feature mix, and torchvision's MobileNetV2 of any width."""

import re
from collections.abc import Mapping
from typing import Any

from tinytrain_core.errors import ConfigurationError

NO_MIX = "-nomix"
RESOLUTION = 128
TORCHVISION_NAME = re.compile(r"^torchvision-mbv2-w(?P<width>\d\.\d{1,2})$")
# Expansion, channels, repetitions and first stride of each stage (Sandler et al. 2018, table 2).
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def without_mix(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a spec file, less its feature mix."""
    return {**raw, "name": raw["name"] + NO_MIX, "title": f"{raw['title']} without feature mix", "feature_mix": 0}


def _divisible(channels: float, by: int = 8) -> int:
    """The multiple of `by` next to `channels`, not more than a tenth below it (torchvision's `_make_divisible`)."""
    near = max(by, int(channels + by / 2) // by * by)
    return near + by if near < 0.9 * channels else near


def torchvision_name(width: float) -> str:
    """The name of torchvision's MobileNetV2 at a width multiplier."""
    return f"torchvision-mbv2-w{width:.2f}"


def torchvision_rows(name: str) -> dict[str, Any] | None:
    """The content of a spec file for torchvision's MobileNetV2 of the width in `name`; None for other names.

    Raises:
        ConfigurationError: at this width the first block would be residual, which no spec can say.
    """
    match = TORCHVISION_NAME.match(name)
    if match is None:
        return None
    width = float(match["width"])
    stem, channels, blocks = _divisible(32 * width), _divisible(32 * width), []
    for expansion, base, repetitions, first_stride in STAGES:
        out = _divisible(base * width)
        for repetition in range(repetitions):
            stride = first_stride if repetition == 0 else 1
            blocks.append({"mid": channels * expansion, "kernel": 3, "stride": stride, "out": out})
            channels = out
    if stem == blocks[0]["out"]:
        raise ConfigurationError(f"{name}: the first block keeps {stem} channels and would be residual; use width 0.3+")
    return {
        "name": name,
        "title": f"torchvision MobileNetV2 w{match['width']}",
        "resolution": RESOLUTION,
        "stem": stem,
        "blocks": blocks,
        "feature_mix": _divisible(1280 * max(1.0, width)),
    }
