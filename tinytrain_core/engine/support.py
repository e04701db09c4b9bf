"""The support set as the tail sees it: features of the clean images, and of the views that the steps look at.

The clean features are kept once they are known and continued from there: the Fisher pass leaves them at its window,
training takes them on to the tail's input. The images of a training step are numbered: 0 to N - 1 is the clean
support, N to 2 N - 1 its view, and what comes after are images without labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine.execution import Execution, parts
from tinytrain_core.engine.features import KeptFeatures, Place, Shelf
from tinytrain_core.engine.memory import LiveBytes, watched
from tinytrain_core.engine.prefix import ImagePrefix, frozen_pass
from tinytrain_core.fewshot.augment import Augmentation, View, draw_view


@dataclass(frozen=True)
class Task:
    """A support set to personalise to: uint8 images (N, 3, R, R) and labels (N,) in 0 .. ways - 1.

    Attributes:
        unlabelled: uint8 (U, 3, R, R), which a transductive method learns from as well; mostly none.
    """

    images: Tensor
    labels: Tensor
    ways: int
    unlabelled: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))


@dataclass(frozen=True)
class StepView:
    """What a step sees beside the clean support: a view, and its number in the pool if it is of one.

    Attributes:
        view: None is the clean support again.
    """

    view: View | None = None
    number: int | None = None


@dataclass(frozen=True)
class Views:
    """The views that the steps of a training take in turn: a pool, or, where that is empty, a fresh one each time."""

    pool: tuple[View, ...]
    n: int
    resolution: int
    augmentation: Augmentation
    generator: torch.Generator

    @classmethod
    def drawn(
        cls, size: int, n: int, resolution: int, augmentation: Augmentation, generator: torch.Generator
    ) -> "Views":
        """A pool of `size` views of n images."""
        pool = tuple(draw_view(n, resolution, augmentation, generator) for _ in range(size))
        return cls(pool, n, resolution, augmentation, generator)

    def of_step(self, number: int) -> StepView:
        """What step `number` sees; to be asked once for each, in order."""
        if float(torch.rand((), generator=self.generator)) >= self.augmentation.probability:
            return StepView()
        if self.pool:
            chosen = number % len(self.pool)
            return StepView(self.pool[chosen], chosen)
        return StepView(draw_view(self.n, self.resolution, self.augmentation, self.generator))


class CleanFeatures:
    """Features of the clean support of a task, from what is kept of them or from the images.

    Attributes:
        prefix: of the images; what is still to be computed is computed as leanly as it is.
        live: watches the bytes of the task from here on.
    """

    def __init__(self, backbone: Backbone, task: Task, shelf: Shelf) -> None:
        self.prefix, self.shelf, self.live = ImagePrefix(backbone, task.images, lean=False), shelf, LiveBytes()
        self._kept: KeptFeatures | None = None

    @property
    def images(self) -> int:
        return len(self.prefix.images)

    def at(self, stop: int, first: int, last: int) -> Tensor:
        """Features (last - first, C, H, W) at the input of convolution `stop`."""
        kept = self._kept
        if kept is None or kept.at > stop:
            return self.prefix.features(stop, first, last)
        return frozen_pass(self.prefix.backbone, self.prefix.lean)(kept.read(first, last), kept.at, stop)

    def keep(self, stop: int, execution: Execution) -> None:
        """Compute features at `stop` and keep them, instead of any kept before.

        Raises:
            StorageError: no room.
        """
        self.prefix = replace(self.prefix, lean=execution.lean)
        if execution.place is Place.NOWHERE:
            self._kept = None
        elif self._kept is None or self._kept.at != stop:
            kept = self.shelf_rows(stop, self.images, execution.place)
            for first, last in parts(self.images, execution.alive):
                with watched(self.live if first == 0 else None):
                    kept.write(first, self.at(stop, first, last))
            self._kept = kept

    def shelf_rows(self, stop: int, rows: int, place: Place) -> KeptFeatures:
        """Room for `rows` feature maps at the input of convolution `stop`."""
        backbone = self.prefix.backbone
        with self.live:
            return KeptFeatures(rows, backbone.spec.convs[stop], self.shelf, place, backbone.weights[0])


class StepFeatures:
    """Features of the 2 N + U images of any training step, at the tail's input `stop`.

    Args:
        unlabelled: uint8 (U, 3, R, R); their features are computed at every use.

    Raises:
        StorageError: no room for what is to be kept.
    """

    def __init__(
        self, clean: CleanFeatures, stop: int, pool: Sequence[View], execution: Execution, unlabelled: Tensor
    ) -> None:
        self.stop, self._clean = stop, clean
        clean.keep(stop, execution)
        self._unlabelled = replace(clean.prefix, images=unlabelled)
        self._pool = self._keep_pool(pool, execution) if pool and execution.place is not Place.NOWHERE else None

    def _keep_pool(self, pool: Sequence[View], execution: Execution) -> KeptFeatures:
        prefix, n = self._clean.prefix, self._clean.images
        kept = self._clean.shelf_rows(self.stop, n * len(pool), execution.place)
        for number, view in enumerate(pool):
            for first, last in parts(n, execution.alive):
                with watched(self._clean.live if number == first == 0 else None):
                    kept.write(number * n + first, prefix.features(self.stop, first, last, view))
        return kept

    def of_step(self, seen: StepView, first: int, last: int) -> Tensor:
        """Features (last - first, C, H, W) of the step's images `first` to `last - 1`, which are of one kind."""
        n = self._clean.images
        if first >= 2 * n:
            return self._unlabelled.features(self.stop, first - 2 * n, last - 2 * n)
        return self._of_view(seen, first - n, last - n) if first >= n else self._clean.at(self.stop, first, last)

    def joined(self, seen: StepView, *, clean: bool) -> Tensor:
        """Features (N + U, C, H, W) of a step's view and of the images without labels, behind N clean ones if asked."""
        n, extra = self._clean.images, len(self._unlabelled.images)
        sides = [(0, n if clean else 0), (n, 2 * n), (2 * n, 2 * n + extra)]
        return torch.cat([self.of_step(seen, first, last) for first, last in sides if last > first])

    def _of_view(self, seen: StepView, first: int, last: int) -> Tensor:
        if seen.view is None:
            return self._clean.at(self.stop, first, last)
        if self._pool is None or seen.number is None:
            return self._clean.prefix.features(self.stop, first, last, seen.view)
        row = seen.number * self._clean.images
        return self._pool.read(row + first, row + last)
