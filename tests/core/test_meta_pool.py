"""Training images in memory: what is decoded, kept and refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.pictures import make_pictures, picture
from tests.training import ignore, run_settings
from tinytrain_core.errors import ConfigurationError, DataError
from tinytrain_core.fewshot.datasets import folder_source
from tinytrain_core.meta_training import pool as pools
from tinytrain_core.meta_training.mixture import SourceMixture
from tinytrain_core.meta_training.pipeline import read_data
from tinytrain_core.meta_training.pool import ImagePool, decode_pool
from tinytrain_core.meta_training.settings import TrainingData


def decode(folder: Path, side: int = 32) -> ImagePool:
    return decode_pool(folder_source(folder), side, ignore)


def mix_of(pool: ImagePool) -> SourceMixture:
    return SourceMixture((TrainingData(name="x", data="x"),), (pool,), 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "colour", {"a": 5, "b": 4, "c": 6})


@pytest.fixture
def grey_folder(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "grey", {"g": 5, "h": 5}, grey=True)


def test_a_pool_holds_each_readable_image_in_its_place(folder: Path) -> None:
    for bad, content in {"a/000": b"", "b/003": b"GIF89a", "c/002": picture(1, 9)[:70]}.items():
        (folder / f"{bad}.png").write_bytes(content)
    source, counts = folder_source(folder), []
    pool = decode_pool(source, 32, lambda *count: counts.append(count))
    assert ([(c.name, c.size) for c in pool.classes], pool.rejected) == ([("a", 4), ("b", 3), ("c", 5)], 3)
    assert counts == [(5, 15), (9, 15), (15, 15)]
    kept = [[1, 2, 3, 4], [0, 1, 2], [0, 1, 3, 4, 5]]
    for k, originals in enumerate(kept):
        for i, original in enumerate(originals):
            assert torch.equal(pool.images[pool.index(k, i)], source.load(k, original, 32, margin=1.0))
            assert pool.classes[k].groups[i] == source.classes[k].groups[original]


def test_a_class_without_a_readable_image_is_gone(folder: Path) -> None:
    for file in (folder / "b").iterdir():
        file.write_bytes(b"")
    pool = decode(folder)
    assert ([c.name for c in pool.classes], pool.first, pool.rejected) == (["a", "c"], (0, 5), 4)
    assert mix_of(pool).classes == 2


def test_a_pool_of_nothing_readable_is_a_data_error(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="none of 15 images"):
        decode(folder)


def test_grey_images_are_kept_in_one_channel_and_given_in_three(grey_folder: Path) -> None:
    pool = decode(grey_folder)
    assert pool.images.shape == (10, 1, 32, 32)
    taken = pool.take(torch.tensor([7, 0]))
    assert torch.equal(taken[0], folder_source(grey_folder).load(1, 2, 32, margin=1.0))
    images, _ = mix_of(pool).batch(1, 0, 4, 32)
    assert images.shape == (4, 3, 32, 32)


@pytest.mark.parametrize("position", [0, 9])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_coloured_image_makes_a_pool_a_coloured_one(grey_folder: Path, position: int, channel: int) -> None:
    file = sorted(grey_folder.rglob("*.png"))[position]
    pixels = np.array(Image.open(file).convert("RGB"))
    pixels[..., channel] += 40
    Image.fromarray(pixels).save(file)
    pool = decode(grey_folder)
    assert pool.images.shape == (10, 3, 32, 32)
    differing = [i for i, image in enumerate(pool.images) if len(image.unique(dim=0)) > 1]
    assert differing == [position]


def test_more_images_than_memory_are_refused_before_they_are_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    limit = int(15 * 3 * 32**2 / pools.MAX_SHARE_OF_RAM)
    monkeypatch.setattr(pools.os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": limit + 2}.__getitem__)
    assert len(decode(folder).images) == 15
    monkeypatch.setattr(pools.os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": limit - 2}.__getitem__)
    with pytest.raises(ConfigurationError, match="15 images of 32 x 32"):
        decode_pool(folder_source(folder), 32, lambda *count: asked.append(count))
    assert not asked


def test_the_images_of_all_sources_have_to_fit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = run_settings(tmp_path, train=[{"name": n, "data": str(tmp_path / "pictures")} for n in ("a", "b")])
    fits = int(30 * 3 * 32**2 / pools.MAX_SHARE_OF_RAM)
    phases: list[str] = []
    for pages in (fits + 2, fits - 2):
        monkeypatch.setattr(pools.os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": pages}.__getitem__)
        if pages > fits:
            assert len(read_data(settings, ignore).mixture.pools) == 2
        else:
            with pytest.raises(ConfigurationError, match="15 images of 32 x 32 and the sources before"):
                read_data(settings, lambda phase, *_: phases.append(phase))
    assert set(phases) == {"decode a"}
