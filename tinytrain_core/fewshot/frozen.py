"""Frozen accuracy: how well a backbone's prototypes classify, before anything is fine-tuned.

Every image that any of the tasks needs is embedded once; the tasks are then scored on the embeddings.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.errors import BadImageError, TooFewImagesError
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.datasets import ImageSource
from tinytrain_core.fewshot.episodes import MIN_WAYS, ClassDraw
from tinytrain_core.fewshot.prototypes import accuracy

BATCH = 16  # larger ones leave the cache
Image = tuple[int, int]  # class and image


def embed_images(
    backbone: Backbone, source: ImageSource, images: Sequence[Image], progress: Callable[[int, int], None]
) -> dict[Image, Tensor]:
    """Embeddings (D,) of the images that can be decoded.

    Args:
        progress: called with (images done, images).
    """
    embeddings: dict[Image, Tensor] = {}
    for first in range(0, len(images), BATCH):
        names, pixels = [], []
        for name in images[first : first + BATCH]:
            try:
                pixels.append(source.load(*name, backbone.spec.resolution))
            except BadImageError:
                continue
            names.append(name)
        if pixels:
            with torch.no_grad():
                embeddings.update(zip(names, backbone.embed(scale_pixels(torch.stack(pixels))), strict=True))
        progress(min(first + BATCH, len(images)), len(images))
    return embeddings


def _embedded(sides: Sequence[list[Image]], embeddings: dict[Image, Tensor]) -> tuple[Tensor, Tensor]:
    """Embeddings (N, D) and labels (N,) of one side of a task, given the images of each class."""
    labels = [label for label, images in enumerate(sides) for _ in images]
    return torch.stack([embeddings[image] for images in sides for image in images]), torch.tensor(labels)


def _task_accuracy(draws: Sequence[ClassDraw], embeddings: dict[Image, Tensor]) -> float:
    """Nearest-prototype accuracy; classes that lost a side to unreadable images are left out."""

    def readable(draw: ClassDraw, images: tuple[int, ...]) -> list[Image]:
        return [name for i in images if (name := (draw.class_index, i)) in embeddings]

    both = [(readable(draw, draw.support), readable(draw, draw.query)) for draw in draws]
    usable = [(support, query) for support, query in both if support and query]
    if len(usable) < MIN_WAYS:
        raise TooFewImagesError(
            f"a task needs {MIN_WAYS} classes with readable images, {len(usable)} of {len(draws)} have"
        )
    support, query = (_embedded(sides, embeddings) for sides in zip(*usable, strict=True))
    return accuracy(*support, *query, len(usable))


def frozen_accuracies(
    backbone: Backbone,
    source: ImageSource,
    tasks: Sequence[Sequence[ClassDraw]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """The share of queries whose nearest prototype is their own, for each task.

    Raises:
        TooFewImagesError: a task is left with fewer than two classes.
    """
    needed = sorted({(d.class_index, i) for task in tasks for d in task for i in (*d.support, *d.query)})
    embeddings = embed_images(backbone, source, needed, progress)
    return [_task_accuracy(task, embeddings) for task in tasks]
