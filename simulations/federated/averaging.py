"""Weights as named arrays, which parts of them are shared, and their mean over devices (McMahan et al. 2017)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec
from tinytrain_core.errors import BackboneError

Arrays = Mapping[str, NDArray[np.float32]]


def _names(conv: ConvSpec) -> tuple[str, str]:
    return f"{conv.name}.weight", f"{conv.name}.bias"


def personal_names(spec: BackboneSpec, blocks: int) -> frozenset[str]:
    """The arrays of the last `blocks` blocks."""
    if not blocks:
        return frozenset()
    return frozenset(name for conv in spec.convs[spec.window_start(blocks) :] for name in _names(conv))


def base_names(spec: BackboneSpec, blocks: int) -> frozenset[str]:
    """The arrays of all else."""
    return frozenset(name for conv in spec.convs for name in _names(conv)) - personal_names(spec, blocks)


def arrays_of(backbone: Backbone, names: Iterable[str] | None = None) -> dict[str, NDArray[np.float32]]:
    """Weights (out, in / groups, kernel, kernel) and biases (out,) by name, all of them or those named; not copied."""
    found: dict[str, NDArray[np.float32]] = {}
    for conv, weight, bias in zip(backbone.spec.convs, backbone.weights, backbone.biases, strict=True):
        found |= dict(zip(_names(conv), (weight.numpy(), bias.numpy()), strict=True))
    return found if names is None else {name: found[name] for name in sorted(names)}


def with_arrays(backbone: Backbone, arrays: Arrays) -> Backbone:
    """The backbone with `arrays` in place of its own of the same names.

    Raises:
        BackboneError: an array that it does not have, of another shape, or with numbers that are not finite.
    """
    own = arrays_of(backbone)
    for name, array in arrays.items():
        if name not in own or own[name].shape != array.shape or not np.isfinite(array).all():
            raise BackboneError(
                f"{name!r} of shape {array.shape} is no array of {backbone.spec.name}, or holds numbers that are not "
                "finite"
            )
    both = own | {name: np.array(array, np.float32) for name, array in arrays.items()}
    named = [[torch.from_numpy(both[name]) for name in _names(conv)] for conv in backbone.spec.convs]
    weights, biases = zip(*named, strict=True)
    return Backbone(backbone.spec, tuple(weights), tuple(biases), backbone.head_scale)


@dataclass
class RunningMean:
    """The mean of arrays, each with its number of examples as weight; nothing but the sum is kept."""

    examples: int = 0
    _sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def add(self, examples: int, arrays: Arrays) -> None:
        """Take one part in; all parts have the same names."""
        self.examples += examples
        for name, array in arrays.items():
            weighted = array.astype(np.float64) * examples  # exact: 24 bits of a weight, and those of a count
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The mean; at least one part is in it."""
        return {name: (total / self.examples).astype(np.float32) for name, total in self._sums.items()}
