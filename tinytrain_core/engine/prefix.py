"""The frozen beginning of a backbone: images in, features at the tail's input out, no graph.

The images of a step are numbered: 0 to N - 1 is the clean support, N to 2 N - 1 its augmented view.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.fewshot.augment import View, scale_pixels


@dataclass(frozen=True)
class Prefix:
    """The features of a task's support.

    Attributes:
        backbone: with channels-last weights; its convolutions before `stop` are frozen.
        support: uint8 (N, 3, R, R).
        clean: features of the clean support, where there is memory to keep them; see `remember`.
    """

    backbone: Backbone
    stop: int
    support: Tensor
    clean: Tensor | None = None

    def remember(self) -> "Prefix":
        """The same prefix with the clean support's features computed once and kept."""
        return Prefix(self.backbone, self.stop, self.support, self._run(0, len(self.support), None))

    def _images(self, first: int, last: int, view: View | None) -> Tensor:
        """Images `first` to `last - 1` of the support, in [-1, 1], as the view shows them."""
        dtype = self.backbone.weights[0].dtype
        if view is None:
            return scale_pixels(self.support[first:last], dtype)
        return view.apply(scale_pixels(self.support[first:last], dtype), first)  # no second name keeps the copy

    def _run(self, first: int, last: int, view: View | None) -> Tensor:
        return self.backbone.run(self._images(first, last, view), 0, self.stop)

    def features(self, first: int, last: int, view: View | None) -> Tensor:
        """Features (last - first, C, H, W) of the step's images `first` to `last - 1`.

        Args:
            view: of the images from N on; None leaves them as they are.
        """
        n = len(self.support)
        parts = []
        if first < n:
            end = min(last, n)
            parts.append(self._run(first, end, None) if self.clean is None else self.clean[first:end])
        if last > n:
            parts.append(self._run(max(first, n) - n, last - n, view))
        return parts[0] if len(parts) == 1 else torch.cat(parts)
