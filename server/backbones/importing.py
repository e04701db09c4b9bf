"""Weights that others published, as a backbone's file and manifest, checked on images if there are any."""

from collections.abc import Callable
from pathlib import Path

import torch

from server.backbones.manifest import UNKNOWN_LICENCE, ImportedManifest, facts_of
from server.versions import versions
from tinytrain_core.backbones.published import Published, read_published
from tinytrain_core.backbones.weights import digest, from_bytes, to_bytes
from tinytrain_core.errors import BadImageError, DataError
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.sources import open_source
from tinytrain_core.files import write_file

TOP = 5
Progress = Callable[[int, int], None]


def top_accuracies(published: Published, data: str, progress: Progress) -> tuple[int, float, float]:
    """Images, top-1 and top-5 of the published classifier, on data with one folder per class in its order.

    The whole central square of each image is used.

    Raises:
        DataError: the data has another number of classes, or no readable image.
    """
    source = open_source(data)
    classes = len(published.classifier[1])
    if len(source.classes) != classes:
        raise DataError(f"{data} has {len(source.classes)} classes, the classifier {classes}")
    top: list[torch.Tensor] = []
    for class_index, image_class in enumerate(source.classes):
        for image_index in range(image_class.size):
            try:
                image = source.load(class_index, image_index, published.backbone.spec.resolution, 1.0)
            except BadImageError:
                continue
            with torch.no_grad():
                best = published.classify(scale_pixels(image[None])).topk(min(TOP, classes)).indices[0]
            top.append(best == class_index)
        progress(class_index + 1, classes)
    if not top:
        raise DataError(f"no image in {data} can be read")
    hits = torch.stack(top).double()
    return len(hits), float(hits[:, 0].mean()), float(hits.any(1).double().mean())


def import_backbone(
    source: Path, out: Path, architecture: str, check: str, licence: str, command: str, progress: Progress
) -> ImportedManifest:
    """Write published weights as a backbone's file, and its manifest beside it.

    Args:
        architecture: by default the one that the tensors' shapes fit.
        check: images to measure the published classifier on; empty for none.

    Raises:
        ConfigurationError: there is no such file or architecture.
        BackboneError: the file cannot be read, or does not fit the architecture.
        DataError: the images to check on are not those of the classifier.
        StorageError: the file cannot be written.
    """
    published = read_published(source, architecture)
    images, top1, top5 = top_accuracies(published, check, progress) if check else (None, None, None)
    data = to_bytes(published.backbone)
    from_bytes(data)  # what is written can be read
    manifest = ImportedManifest(
        name=out.stem,
        **facts_of(published.backbone, data),
        made_by=command,
        data_licence=licence or UNKNOWN_LICENCE,
        versions=versions(),
        source=source.name,
        source_sha256=digest(source.read_bytes()),
        layout=published.layout,
        input_scaling=published.input_scaling,
        checked_on=Path(check).name if check else None,
        images=images,
        top1=top1,
        top5=top5,
    )
    write_file(out, data)
    write_file(out.with_suffix(".json"), (manifest.model_dump_json(indent=2) + "\n").encode())
    return manifest
