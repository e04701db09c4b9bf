"""What a step is given of the training images, and how they are varied."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pictures import make_pictures
from tinytrain_core.errors import TooFewClassesError
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.datasets import folder_source
from tinytrain_core.meta_training.crops import Variation, draw_variation
from tinytrain_core.meta_training.mixture import SourceMixture, check_tasks
from tinytrain_core.meta_training.pool import ImagePool, decode_pool
from tinytrain_core.meta_training.settings import EpisodicPhase, TrainingData
from tinytrain_core.seeds import torch_generator

STILL: dict[str, Any] = {"least_area": 1.0, "stretch": 1.0, "colour": 0.0}  # varies nothing but the mirroring


def decode(folder: Path, side: int = 32) -> ImagePool:
    return decode_pool(folder_source(folder), side, lambda *_: None)


def training_data(**keys: Any) -> TrainingData:
    return TrainingData(name="x", data="x", **keys)


def episodes(**keys: Any) -> EpisodicPhase:
    return EpisodicPhase(kind="episodic", steps=1, **keys)


def mix_of(*parts: tuple[ImagePool, TrainingData], seed: int = 4) -> SourceMixture:
    return SourceMixture(tuple(data for _, data in parts), tuple(pool for pool, _ in parts), seed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "colour", {"a": 5, "b": 4, "c": 6})


@pytest.fixture
def grey_folder(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "grey", {"g": 5, "h": 5}, grey=True)


variations = given(
    st.floats(0.01, 1), st.floats(1, 4), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32), st.integers(1, 20)
)


@settings(deadline=None)
@variations
def test_crops_stay_inside_and_keep_their_area(
    least_area: float, stretch: float, flip: float, colour: float, seed: int, n: int
) -> None:
    data = training_data(least_area=least_area, stretch=stretch, flip=flip, colour=colour)
    crops = draw_variation(n, data, torch_generator(seed)).crops
    assert crops.shape == (n, 2, 3)
    width, height = crops[:, 0, 0].abs(), crops[:, 1, 1]
    assert bool((crops[:, 0, 1] == 0).all() & (crops[:, 1, 0] == 0).all())
    assert bool((width + crops[:, 0, 2].abs() <= 1 + 1e-6).all() & (height + crops[:, 1, 2].abs() <= 1 + 1e-6).all())
    assert bool((width * height <= 1 + 1e-6).all())
    whole = (width < 1) & (height < 1)  # a side that would not fit is cut, and its area with it
    assert bool((width * height >= least_area * (1 - 1e-5))[whole].all())
    ratio = width / height
    assert bool(((ratio <= stretch * (1 + 1e-5)) & (ratio >= (1 - 1e-5) / stretch)).all())


def test_mirroring_is_as_often_as_it_says() -> None:
    for flip, least, most in ((0.0, 0, 0), (0.25, 430, 570), (1.0, 2000, 2000)):
        crops = draw_variation(2000, training_data(flip=flip), torch_generator(5)).crops
        assert least <= int((crops[:, 0, 0] < 0).sum()) <= most
        assert bool((crops[:, 1, 1] > 0).all())  # never upside down


def test_without_variation_an_image_is_itself_and_mirrored_is_mirrored() -> None:
    images = scale_pixels(torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch_generator(1)))
    for flip, expected in ((0.0, images), (1.0, images.flip(3))):
        varied = draw_variation(3, training_data(flip=flip, **STILL), torch_generator(2)).apply(images.clone(), 32)
        assert torch.allclose(varied, expected, atol=1e-5)


def test_a_crop_shows_the_part_that_it_names() -> None:
    steps = torch.linspace(-1, 1, 64)
    image = torch.stack([steps.expand(64, 64), steps[:, None].expand(64, 64), torch.zeros(64, 64)])[None]
    colours = draw_variation(1, training_data(**STILL), torch_generator(0)).colours
    crop = torch.tensor([[[0.25, 0.0, 0.5], [0.0, 0.5, -0.5]]])  # a quarter wide, right; half high, top
    shown = Variation(crop, colours).apply(image, 32)[0]
    assert [round(float(shown[0].min()), 1), round(float(shown[0].max()), 1)] == [0.3, 0.8]
    assert [round(float(shown[1].min()), 1), round(float(shown[1].max()), 1)] == [-1.0, 0.0]


def test_colours_stay_in_range() -> None:
    images = scale_pixels(torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=torch_generator(1)))
    varied = draw_variation(50, training_data(colour=1.0), torch_generator(3)).apply(images, 32)
    assert float(varied.abs().max()) == 1.0


def pixel_classes(mix: SourceMixture, images: torch.Tensor) -> list[int]:
    """Which class of the mix each unvaried image is the most like, counted over all sources."""
    stored = [scale_pixels(pool.take(torch.arange(len(pool.images)))) for pool in mix.pools]
    owners = [k for pool in mix.pools for c in pool.classes for k in [c.name] * c.size]
    names = [c.name for pool in mix.pools for c in pool.classes]
    nearest = torch.cdist(images.flatten(1), torch.cat(stored).flatten(1)).argmin(1).tolist()
    return [names.index(owners[row]) for row in nearest]


def test_batches_carry_the_labels_of_their_images(folder: Path, grey_folder: Path) -> None:
    mix = mix_of((decode(folder), training_data(**STILL)), (decode(grey_folder), training_data(**STILL)))
    images, labels = mix.batch(1, 0, 40, 32)
    assert labels.tolist() == pixel_classes(mix, images)
    assert set(labels.tolist()) == set(range(5))


def test_tasks_carry_the_labels_of_their_images_and_never_an_image_twice(folder: Path, grey_folder: Path) -> None:
    mix = mix_of((decode(folder), training_data(**STILL)), (decode(grey_folder), training_data(**STILL)))
    shape = episodes(ways=2, shots=2, queries=2)
    owners = set()
    for step in range(12):
        task = mix.task(1, step, shape, 32)
        images = torch.cat([task.support, task.query])
        assert float(torch.cdist(images.flatten(1), images.flatten(1)).fill_diagonal_(9).min()) > 1
        named = [
            list(zip(pixel_classes(mix, side), labels.tolist(), strict=True))
            for side, labels in ((task.support, task.support_labels), (task.query, task.query_labels))
        ]
        assert set(named[0]) == set(named[1])
        assert len(set(named[0])) == task.ways == len({owner for owner, _ in named[0]}) == 2
        owners |= {frozenset(owner for owner, _ in named[0])}
    assert all(max(o) < 3 or min(o) >= 3 for o in owners)  # never of two sources
    assert len(owners) == 4


def test_shares_follow_the_weights(folder: Path, grey_folder: Path) -> None:
    mix = mix_of((decode(folder), training_data(weight=3.0)), (decode(grey_folder), training_data(weight=1.0)))
    labels = torch.cat([mix.batch(1, step, 100, 32)[1] for step in range(20)])
    assert 1400 < int((labels < 3).sum()) < 1600
    counts = Counter(labels.tolist())
    assert all(410 < counts[k] < 590 for k in range(3))
    shape = episodes(ways=2, shots=1, queries=1)
    grey = sum(torch.equal(t.support[:, 0], t.support[:, 2]) for t in (mix.task(1, s, shape, 32) for s in range(200)))
    assert 30 < grey < 70
    named = replace(mix, data=(mix.data[0], mix.data[1].model_copy(update={"name": "grey"})))
    assert bool((named.batch(1, 0, 200, 32, {"grey": 0})[1] < 3).all())
    assert bool((named.batch(1, 0, 200, 32, {"x": 0})[1] >= 3).all())
    only_grey = episodes(ways=2, shots=1, queries=1, weights={"x": 0})
    assert all(
        torch.equal(t.support[:, 0], t.support[:, 2]) for t in (named.task(1, s, only_grey, 32) for s in range(9))
    )


def test_what_a_step_sees_depends_on_its_name_alone(folder: Path) -> None:
    pool = decode(folder)
    mix, twin = mix_of((pool, training_data())), mix_of((pool, training_data()))
    shape = episodes(ways=2, shots=1, queries=1)
    first = mix.batch(1, 7, 6, 32), mix.task(2, 7, shape, 32)
    twin.batch(1, 3, 6, 32)
    again = twin.batch(1, 7, 6, 32), twin.task(2, 7, shape, 32)
    assert torch.equal(first[0][0], again[0][0])
    assert torch.equal(first[0][1], again[0][1])
    assert torch.equal(first[1].support, again[1].support)
    others = [
        mix.batch(2, 7, 6, 32),
        mix.batch(1, 8, 6, 32),
        mix_of((pool, training_data()), seed=5).batch(1, 7, 6, 32),
    ]
    assert not any(torch.equal(first[0][0], images) for images, _ in others)


def test_each_part_of_a_steps_name_counts_for_images_and_for_their_variation(tmp_path: Path, folder: Path) -> None:
    pool, lone = decode(folder), decode(make_pictures(tmp_path / "lone", {"a": 1}))
    names = [(4, 1, 7), (5, 1, 7), (4, 2, 7), (4, 1, 8)]  # seed, phase, step
    drawn = [mix_of((pool, training_data()), seed=s).batch(p, i, 30, 32)[1] for s, p, i in names]
    varied = [mix_of((lone, training_data()), seed=s).batch(p, i, 2, 32)[0] for s, p, i in names]
    twice = mix_of((lone, training_data(weight=1e-9)), (lone, training_data())).batch(1, 7, 2, 32)[0]
    for one, other in combinations([*drawn], 2):
        assert not torch.equal(one, other)
    for one, other in combinations([*varied, twice], 2):
        assert not torch.equal(one, other)


def test_a_source_without_such_tasks_is_found_before_the_training(folder: Path, grey_folder: Path) -> None:
    mix = mix_of((decode(folder), training_data()), (decode(grey_folder), training_data()))
    check_tasks(mix.data, mix.pools, [episodes(ways=2, shots=1, queries=3)])
    for keys in ({"ways": 3, "shots": 1}, {"ways": 2, "shots": 3}):
        with pytest.raises(TooFewClassesError):
            check_tasks(mix.data, mix.pools, [episodes(**keys, queries=3)])
    coloured, grey = decode(folder), decode(grey_folder)
    named = mix_of((coloured, training_data()), (grey, training_data().model_copy(update={"name": "grey"})))
    check_tasks(named.data, named.pools, [episodes(ways=3, shots=1, queries=3, weights={"grey": 0})])
