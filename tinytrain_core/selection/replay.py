"""Tensors on paper, and the frozen prefix replayed with them, for what it has alive.

What follows in `tail_replay.py` and `live_memory.py` does the same for the rest of the engine: every function follows
one of it tensor by tensor, and `engine/memory.py` measures what they predict. Counted is what torch allocates, in fp32;
scratch memory that an operator takes and returns within itself is not.
"""

from collections.abc import Sequence

from tinytrain_core.backbones.spec import IMAGE_CHANNELS, BackboneSpec, ConvSpec
from tinytrain_core.engine.prefix import chunk_channels, stages
from tinytrain_core.selection.cost import FLOAT_BYTES


class Held:
    """A tensor on paper: its bytes, and how many names it has."""

    __slots__ = ("names", "size")

    def __init__(self, size: int) -> None:
        self.size, self.names = size, 1


class Live:
    """A running total and its peak."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    def new(self, size: int) -> Held:
        """A tensor is born."""
        self.now += size
        self.peak = max(self.peak, self.now)
        return Held(size)

    @staticmethod
    def keep(tensor: Held) -> Held:
        """A tensor gets one more name."""
        tensor.names += 1
        return tensor

    def drop(self, tensor: Held) -> None:
        """A tensor loses a name, and dies with its last."""
        tensor.names -= 1
        if tensor.names == 0:
            self.now -= tensor.size

    def moment(self, size: int) -> None:
        """Tensors are born and die at once."""
        self.peak = max(self.peak, self.now + size)


def in_bytes(conv: ConvSpec, n: int) -> int:
    """The input of a convolution for n images."""
    return FLOAT_BYTES * n * conv.in_elements


def out_bytes(conv: ConvSpec, n: int) -> int:
    """The output of a convolution for n images."""
    return FLOAT_BYTES * n * conv.out_elements


def image_bytes(spec: BackboneSpec, n: int) -> int:
    """Images as floats."""
    return FLOAT_BYTES * n * IMAGE_CHANNELS * spec.resolution**2


def pixels(live: Live, spec: BackboneSpec, n: int, *, view: bool) -> Held:
    """A batch of images as floats; a view moves them into a second batch."""
    size = image_bytes(spec, n)
    if view:
        live.moment(2 * size)
    return live.new(size)


def frozen_pass(live: Live, spec: BackboneSpec, x: Held, start: int, stop: int, n: int, *, lean: bool) -> Held:
    """`engine.prefix.frozen_pass`: consumes x, gives the features at `stop`."""
    if not lean:
        return _layer_by_layer(live, spec.convs[start:stop], x, n)
    for stage in stages(spec, start, stop):
        channels = chunk_channels(stage)
        if channels:
            out = live.new(out_bytes(stage[-1], n))
            live.moment(sum(out_bytes(conv, n) * channels // conv.out_channels for conv in stage[:-1]))
            live.drop(x)
            x = out
        else:
            held = live.keep(x)
            x = _layer_by_layer(live, stage, x, n)
            live.drop(held)
    return x


def _layer_by_layer(live: Live, convs: Sequence[ConvSpec], x: Held, n: int) -> Held:
    skip = None
    for conv in convs:
        if conv.opens_residual:
            skip = live.keep(x)
        out = live.new(out_bytes(conv, n))
        live.drop(x)
        x = out
        if conv.closes_residual and skip is not None:
            live.drop(skip)
            skip = None
    return x
