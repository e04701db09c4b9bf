"""Embedding every image once gives what each task gives by itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.pictures import make_pictures
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.errors import TooFewImagesError
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.datasets import ImageSource, folder_source
from tinytrain_core.fewshot.episodes import ClassDraw, load_episode, sample_fixed, sample_various
from tinytrain_core.fewshot.frozen import BATCH, embed_images, frozen_accuracies
from tinytrain_core.fewshot.prototypes import accuracy
from tinytrain_core.seeds import generator


def direct(backbone: Backbone, source: ImageSource, draws: list[ClassDraw]) -> float:
    episode = load_episode(source, draws, backbone.spec.resolution)
    with torch.no_grad():
        support, query = (backbone.embed(scale_pixels(images)) for images in (episode.support, episode.query))
    return accuracy(support, episode.support_labels, query, episode.query_labels, episode.ways)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_pictures(tmp_path, {f"c{k}": 16 for k in range(7)})


def tasks(source: ImageSource) -> list[list[ClassDraw]]:
    fixed = [sample_fixed(source, 3, 2, 5, generator(1, episode)) for episode in range(8)]
    return [*fixed, *(sample_various(source, generator(2, episode)) for episode in range(8))]


def test_the_accuracies_are_those_of_each_task_alone(folder: Path, small: Backbone) -> None:
    source = folder_source(folder)
    drawn = tasks(source)
    found = frozen_accuracies(small, source, drawn)
    assert found == [direct(small, source, draws) for draws in drawn]
    assert len(set(found)) > 3  # there is something to compare


def test_unreadable_images_are_left_out(folder: Path, small: Backbone) -> None:
    drawn = tasks(folder_source(folder))
    before = frozen_accuracies(small, folder_source(folder), drawn)
    for name in ("c0/001.png", "c2/004.png", "c5/010.png", "c6/003.png"):
        (folder / name).write_bytes(b"not a picture")
    for i in range(16):
        (folder / "c3" / f"{i:03d}.png").write_bytes(b"")
    source = folder_source(folder)
    found = frozen_accuracies(small, source, drawn)
    assert found == [direct(small, source, draws) for draws in drawn]
    assert found != before


def test_a_task_that_loses_its_classes_is_an_error(folder: Path, small: Backbone) -> None:
    source = folder_source(folder)
    draws = [ClassDraw(0, (0,), (1,)), ClassDraw(1, (0,), (1,))]
    (folder / "c1" / "001.png").write_bytes(b"not a picture")
    with pytest.raises(TooFewImagesError, match="1 of 2"):
        frozen_accuracies(small, source, [draws])


def test_every_image_is_embedded_once_and_batches_do_not_matter(folder: Path, small: Backbone) -> None:
    source = folder_source(folder)
    (folder / "c4" / "000.png").write_bytes(b"not a picture")
    images = [(k, i) for k in range(7) for i in range(16)]
    seen: list[tuple[int, int]] = []
    embeddings = embed_images(small, source, images, lambda *counts: seen.append(counts))
    assert set(embeddings) == set(images) - {(4, 0)}
    assert seen == [(min(done + BATCH, 112), 112) for done in range(0, 112, BATCH)]
    with torch.no_grad():
        alone = small.embed(scale_pixels(source.load(6, 15, 32)[None]))[0]
    assert torch.allclose(embeddings[6, 15], alone, atol=1e-5)
    assert not torch.allclose(embeddings[6, 14], alone, atol=1e-3)


def test_the_last_image_of_a_batch_and_one_is_embedded_and_none_is_on_a_tape(folder: Path, small: Backbone) -> None:
    trained = replace(small, weights=tuple(w.clone().requires_grad_() for w in small.weights))
    images = [(k, i) for k in range(7) for i in range(16)][: BATCH + 1]
    embeddings = embed_images(trained, folder_source(folder), images, lambda *_: None)
    assert list(embeddings) == images
    assert not any(embedding.requires_grad for embedding in embeddings.values())


def test_validation_does_not_touch_the_weights(folder: Path, small: Backbone) -> None:
    before = [tensor.clone() for tensor in (*small.weights, *small.biases)]
    source = folder_source(folder)
    frozen_accuracies(small, source, tasks(source))
    assert all(torch.equal(a, b) for a, b in zip(before, (*small.weights, *small.biases), strict=True))
