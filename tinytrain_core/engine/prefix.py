"""The frozen beginning of a backbone: images in, features at some block's input out, no graph.

Layer by layer, an inverted bottleneck holds its whole expanded map: MobileNetV2 needs 1.2 MB for one image. In lean
passes a block is evaluated a few hidden channels at a time instead, which is exact: the projection is a sum over
them (the idea of MCUNetV2's and of fused inverted bottlenecks, in the channel instead of the spatial direction).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec
from tinytrain_core.engine.ops import as_maps, as_rows, convolve, relu6_
from tinytrain_core.fewshot.augment import View, scale_pixels

CHUNK_BYTES = 64 * 1024  # of fp32 hidden maps alive at once in a lean pass, for each image


def stages(spec: BackboneSpec, start: int, stop: int) -> Iterator[tuple[ConvSpec, ...]]:
    """Convolutions `start` to `stop - 1` in the groups that a lean pass evaluates as one: blocks, the stem with the
    first, whose hidden channels follow the stem's one by one."""
    convs = spec.convs[start:stop]
    for _, group in groupby(convs, lambda conv: max(conv.block, 0)):
        yield tuple(group)


def chunk_channels(stage: Sequence[ConvSpec]) -> int:
    """How many hidden channels of a stage are alive at once in a lean pass; 0 where it is evaluated layer by layer.

    The stages that can be cut end in a projection, which sums over hidden channels.
    """
    hidden = stage[:-1]
    if not hidden or stage[-1].kind != "pw2":
        return 0
    each = max(4 * (a.out_size**2 + b.out_size**2) for a, b in zip(hidden, (*hidden[1:], hidden[-1]), strict=True))
    return max(1, min(CHUNK_BYTES // each, stage[-1].in_channels))


def _run_in_chunks(backbone: Backbone, stage: Sequence[ConvSpec], x: Tensor, channels: int) -> Tensor:
    """One stage, `channels` hidden channels at a time."""
    project = stage[-1]
    matrix = backbone.weights[project.index].flatten(1)
    out = backbone.biases[project.index].repeat(len(x) * project.out_size**2, 1)
    for begin in range(0, project.in_channels, channels):
        part = slice(begin, begin + channels)
        hidden = x
        for conv in stage[:-1]:
            hidden = relu6_(
                convolve(hidden, backbone.weights[conv.index][part], backbone.biases[conv.index][part], conv)
            )
        out.addmm_(as_rows(hidden), matrix[:, part].t())
    maps = as_maps(out, project.out_size)
    return maps.add_(x) if project.closes_residual else maps


@dataclass(frozen=True)
class LeanPass:
    """The frozen pass a few hidden channels at a time, as `chunk_channels` says."""

    backbone: Backbone

    def run(self, x: Tensor, start: int, stop: int) -> Tensor:
        """As `Backbone.run`."""
        for stage in stages(self.backbone.spec, start, stop):
            channels = chunk_channels(stage)
            if channels:
                x = _run_in_chunks(self.backbone, stage, x, channels)
            else:
                x = self.backbone.run(x, stage[0].index, stage[-1].index + 1)
        return x


def frozen_pass(backbone: Backbone, lean: bool) -> Callable[[Tensor, int, int], Tensor]:
    """What takes features at the input of one convolution to the input of another; both open blocks.

    It is returned rather than called so that no name of the caller's keeps its input alive.
    """
    return LeanPass(backbone).run if lean else backbone.run


@dataclass(frozen=True)
class ImagePrefix:
    """Frozen features of images.

    Attributes:
        backbone: with channels-last weights; none of its convolutions is trained.
        images: uint8 (N, 3, R, R).
        lean: as `frozen_pass` takes it.
    """

    backbone: Backbone
    images: Tensor
    lean: bool

    def features(self, stop: int, first: int, last: int, view: View | None = None) -> Tensor:
        """Features (last - first, C, H, W) of images `first` to `last - 1`, as the view shows them."""
        return frozen_pass(self.backbone, self.lean)(self._pixels(first, last, view), 0, stop)

    def _pixels(self, first: int, last: int, view: View | None) -> Tensor:
        like = self.backbone.weights[0]
        pixels = scale_pixels(self.images[first:last].to(like.device), like.dtype)
        return pixels if view is None else view.apply(pixels, first)
