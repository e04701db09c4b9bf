"""Training images decoded once and kept in memory, on the device that trains."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tinytrain_core.errors import BadImageError, ConfigurationError, DataError
from tinytrain_core.fewshot.datasets import ImageClass, ImageSource

MAX_SHARE_OF_RAM = 0.8


@dataclass(frozen=True)
class ImagePool:
    """All readable images of a source.

    Attributes:
        images: uint8 (N, 3, S, S), or (N, 1, S, S) where all of them are grey.
        first: per class, the index of its first image.
        rejected: images that could not be decoded.
    """

    classes: tuple[ImageClass, ...]
    images: Tensor
    first: tuple[int, ...]
    rejected: int

    def index(self, class_index: int, image_index: int) -> int:
        """Where an image of a class is in `images`."""
        return self.first[class_index] + image_index

    def take(self, indices: Tensor) -> Tensor:
        """Images uint8 (len(indices), 3, S, S)."""
        return self.images[indices.to(self.images.device)].expand(-1, 3, -1, -1)

    def to(self, device: torch.device) -> "ImagePool":
        """The same images in the memory of `device`."""
        return ImagePool(self.classes, self.images.to(device), self.first, self.rejected)


def _check_memory(count: int, side: int, held: int) -> None:
    """Refuse what does not fit beside the bytes that are held already, before hours are spent on swapping."""
    wanted = count * 3 * side**2 + held
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > MAX_SHARE_OF_RAM * ram:
        raise ConfigurationError(
            f"{count} images of {side} x {side} and the sources before take {wanted / 2**30:.1f} GiB, this machine "
            f"has {ram / 2**30:.1f}: "
            "lower `stored`, or images_per_face"
        )


def decode_pool(source: ImageSource, side: int, progress: Callable[[int, int], None], held: int = 0) -> ImagePool:
    """Decode all images of a source at `side`; those that cannot be are left out and counted.

    Args:
        progress: called with (images done, images).
        held: bytes of memory that the pools of other sources take.

    Raises:
        ConfigurationError: the images do not fit into memory.
        DataError: no image can be decoded.
    """
    total = sum(c.size for c in source.classes)
    _check_memory(total, side, held)
    images = torch.empty(total, 3, side, side, dtype=torch.uint8)
    classes, first, kept, done = [], [], 0, 0
    for index, image_class in enumerate(source.classes):
        groups = _decode_class(source, index, images[kept:])
        if groups:
            classes.append(ImageClass(image_class.name, groups))
            first.append(kept)
        kept, done = kept + len(groups), done + image_class.size
        progress(done, total)
    if not kept:
        raise DataError(f"none of {total} images can be decoded")
    return ImagePool(tuple(classes), _without_colour(images[:kept]), tuple(first), total - kept)


def _decode_class(source: ImageSource, index: int, room: Tensor) -> tuple[str, ...]:
    """Decode a class into the first places of `room` (N, 3, S, S); the groups of the images that could be."""
    groups: list[str] = []
    for image, group in enumerate(source.classes[index].groups):
        try:
            room[len(groups)] = source.load(index, image, room.shape[-1], margin=1.0)
        except BadImageError:
            continue
        groups.append(group)
    return tuple(groups)


def _without_colour(images: Tensor) -> Tensor:
    """One channel (N, 1, S, S) where all three are the same in every image."""
    grey = all(torch.equal(image[0], image[1]) and torch.equal(image[0], image[2]) for image in images)
    return images[:, :1].clone() if grey else images
