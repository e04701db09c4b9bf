"""`engine.adapters.branch` on paper: what a lite residual has alive on its way forwards, between, and backwards.

What goes backwards is autograd's, which frees what it has kept as it goes.
"""

from typing import NamedTuple

from tinytrain_core.engine.adapters import LiteShape, norm_groups
from tinytrain_core.selection.cost import FLOAT_BYTES

STANDARDISING = 4  # tensors of the weights' size while their standardisation goes backwards
STATISTICS = 2  # a norm's mean and deviation


class BranchBytes(NamedTuple):
    """Bytes at the worst moment of the forward pass, kept for the backward pass, and at its worst moment."""

    forward: int
    kept: int
    backward: int


def branch_bytes(shape: LiteShape, n: int, *, taped: bool) -> BranchBytes:
    """For n images.

    Args:
        taped: whether the pass is to go backwards.
    """
    elements = _taped(shape, n) if taped else BranchBytes(_untaped(shape, n), 0, 0)
    return BranchBytes(*(FLOAT_BYTES * count for count in elements))


class _Sizes(NamedTuple):
    """Elements of the maps of n images, and of the two convolutions' weights."""

    entered: int
    pooled: int
    hidden: int
    out: int
    raised: int
    spatial: int
    point: int


def _sizes(shape: LiteShape, n: int) -> _Sizes:
    wide, out = n * shape.in_channels, n * shape.out_channels
    point = shape.in_channels * shape.out_channels
    maps = wide * shape.in_size**2, wide * shape.pooled**2, wide * shape.inner**2, out * shape.inner**2
    return _Sizes(*maps, out * shape.out_size**2, shape.weights - point, point)


def _untaped(shape: LiteShape, n: int) -> int:
    s = _sizes(shape, n)
    raised = s.raised if shape.inner != shape.out_size else 0
    first = max(2 * s.spatial, s.hidden + s.spatial, 2 * s.hidden, s.hidden + s.point + max(s.point, s.out))
    return s.pooled + max(first, s.hidden + s.out + max(s.out, raised)) + 3 * (shape.in_channels + shape.out_channels)


def _taped(shape: LiteShape, n: int) -> BranchBytes:
    s, raises = _sizes(shape, n), shape.inner != shape.out_size
    norms = STATISTICS * n * (norm_groups(shape.in_channels) + norm_groups(shape.out_channels))
    columns = 3 * (shape.in_channels + shape.out_channels)
    kept = s.pooled + 2 * s.hidden + s.out + s.raised + 2 * (s.spatial + s.point) + norms + columns
    ahead = max(kept + s.out * raises, s.pooled + 3 * s.hidden + 2 * s.spatial)
    left = s.raised + s.point + s.pooled + columns
    last = left + max((STANDARDISING + 2) * s.spatial, s.spatial + s.entered)
    back = max(s.out * (1 + raises), s.hidden + STANDARDISING * s.point)
    return BranchBytes(ahead, kept, max(kept + back, last))
