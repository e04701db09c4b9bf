"""What a backbone is, as data: every convolution with its shape, derived from `specs/*.json`.

A spec file lists a stem and mobile inverted-bottleneck blocks (Sandler et al. 2018). The first block has no
expansion; a block is residual when it keeps both resolution and channels and is not the first. TinyTrain's
MobileNetV2 and ProxylessNASNet end in one more 1x1 convolution, the feature mix.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

from tinytrain_core.backbones.variants import NO_MIX, torchvision_rows, without_mix
from tinytrain_core.errors import ConfigurationError

IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class ConvSpec:
    """One convolution. Spatial sizes are of square feature maps; padding is `kernel // 2`."""

    index: int
    block: int  # -1 for the stem, the number of blocks for the feature mix
    kind: str  # stem | pw1 | dw | pw2 | mix
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    in_size: int
    relu6: bool
    opens_residual: bool = False
    closes_residual: bool = False

    @property
    def name(self) -> str:
        """The tensor prefix in a weights file, for instance `block03.dw`."""
        return self.kind if self.kind in ("stem", "mix") else f"block{self.block:02d}.{self.kind}"

    @property
    def opens_block(self) -> bool:
        """Whether it is the first of a block with an expansion."""
        return self.kind == "pw1"

    @property
    def closes_block(self) -> bool:
        return self.kind == "pw2"

    @property
    def depthwise(self) -> bool:
        return self.kind == "dw"

    @property
    def groups(self) -> int:
        return self.in_channels if self.depthwise else 1

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def out_size(self) -> int:
        return (self.in_size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def inputs_per_channel(self) -> int:
        """Input channels that one output channel sees."""
        return self.in_channels // self.groups

    @property
    def weights_per_channel(self) -> int:
        """Weights that make one output channel."""
        return self.inputs_per_channel * self.kernel**2

    @property
    def weights(self) -> int:
        return self.out_channels * self.weights_per_channel

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.out_channels, self.inputs_per_channel, self.kernel, self.kernel)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass for one image; dL/dx and dL/dw cost the same each."""
        return self.weights * self.out_size**2

    @property
    def in_elements(self) -> int:
        return self.in_channels * self.in_size**2

    @property
    def out_elements(self) -> int:
        return self.out_channels * self.out_size**2


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone without classifier: its convolutions in order, then a global average pool."""

    name: str
    title: str
    resolution: int
    convs: tuple[ConvSpec, ...]

    @property
    def feature_dim(self) -> int:
        return self.convs[-1].out_channels

    @cached_property
    def macs(self) -> int:
        return sum(conv.macs for conv in self.convs)

    @cached_property
    def weights(self) -> int:
        return sum(conv.weights for conv in self.convs)

    @property
    def blocks(self) -> int:
        """The number of blocks that an inspection window counts: a feature mix is one of its own."""
        return self.convs[-1].block + 1

    def block_start(self, conv_index: int) -> int:
        """The index of the first convolution of the block that `conv_index` lies in."""
        block = self.convs[conv_index].block
        return next(conv.index for conv in self.convs if conv.block == block)

    def window_start(self, blocks: int) -> int:
        """The first convolution of the last `blocks` blocks (all of the network if it has fewer)."""
        first_block = max(self.blocks - blocks, -1)
        return next(conv.index for conv in self.convs if conv.block >= first_block)


def _block_convs(block: int, row: dict[str, int], channels: int, size: int, index: int) -> list[ConvSpec]:
    """The two or three convolutions of one inverted-bottleneck block."""
    residual = block > 0 and row["stride"] == 1 and channels == row["out"]
    convs = []
    if block > 0:
        convs.append(ConvSpec(index, block, "pw1", channels, row["mid"], 1, 1, size, True, opens_residual=residual))
    depthwise = ConvSpec(
        index + len(convs), block, "dw", row["mid"], row["mid"], row["kernel"], row["stride"], size, True
    )
    project = ConvSpec(
        depthwise.index + 1,
        block,
        "pw2",
        row["mid"],
        row["out"],
        1,
        1,
        depthwise.out_size,
        False,
        closes_residual=residual,
    )
    return [*convs, depthwise, project]


def spec_from_rows(raw: Mapping[str, Any]) -> BackboneSpec:
    """The architecture that the content of a spec file describes."""
    convs = [ConvSpec(0, -1, "stem", IMAGE_CHANNELS, raw["stem"], 3, 2, raw["resolution"], True)]
    for block, row in enumerate(raw["blocks"]):
        last = convs[-1]
        convs += _block_convs(block, row, last.out_channels, last.out_size, last.index + 1)
    if raw["feature_mix"]:
        last = convs[-1]
        convs.append(
            ConvSpec(
                last.index + 1, last.block + 1, "mix", last.out_channels, raw["feature_mix"], 1, 1, last.out_size, True
            )
        )
    return BackboneSpec(raw["name"], raw["title"], raw["resolution"], tuple(convs))


def backbone_names() -> list[str]:
    """The architectures that ship with the project."""
    return sorted(p.name.removesuffix(".json") for p in (files(__package__) / "specs").iterdir())


def _raw_spec(name: str) -> dict[str, Any]:
    if name in backbone_names():
        content: dict[str, Any] = json.loads((files(__package__) / "specs" / f"{name}.json").read_text())
        return content
    if name.endswith(NO_MIX) and (whole := _raw_spec(name.removesuffix(NO_MIX)))["feature_mix"]:
        return without_mix(whole)
    if (rows := torchvision_rows(name)) is not None:
        return rows
    raise ConfigurationError(
        f"unknown backbone {name!r}; the known ones are {', '.join(backbone_names())}, those with a feature mix "
        f"followed by {NO_MIX}, and torchvision-mbv2-wX.XX"
    )


@lru_cache
def load_spec(name: str) -> BackboneSpec:
    """The architecture called `name`: one that ships with the project, or one that follows from it (`variants`).

    Raises:
        ConfigurationError: no architecture has that name.
    """
    return spec_from_rows(_raw_spec(name))
