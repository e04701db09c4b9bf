"""What makes users' tasks differ: images of a class, wrong labels, and the style of a camera."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tinytrain_core.fewshot.differences import class_shots, mislabelled, user_episode, wanted_shots
from tinytrain_core.fewshot.episodes import Episode, personal_episode
from tinytrain_core.fewshot.share import Sharing, UserShare
from tinytrain_core.fewshot.style import Style, draw_style
from tinytrain_core.fewshot.users import user_source
from tinytrain_core.seeds import generator

PLAIN = Style(brightness=0, contrast=1, hue=0, blur=0, noise=0)


def share(number: int = 0, **fields: object) -> UserShare:
    return UserShare(number=number, users=500, min_ways=4, max_ways=4, sharing=Sharing(**fields))


def episode(number: int = 0, shots: int = 4, **fields: object) -> Episode:
    user = share(number, **fields)
    source = user_source("glyphs", user, shots + 3)
    return user_episode(source, user, shots, 3, 32, generator(0, number))


def counts(task: Episode) -> list[int]:
    return torch.bincount(task.support_labels, minlength=task.ways).tolist()


def test_users_who_do_not_differ_have_the_plain_task() -> None:
    source = user_source("glyphs", share())
    plain = personal_episode(source, 4, 3, 32, generator(0, 0))
    same = episode()
    assert torch.equal(same.support, plain.support)
    assert torch.equal(same.query, plain.query)
    assert torch.equal(same.support_labels, plain.support_labels)


@given(
    number=st.integers(0, 499),
    shots=st.integers(1, 500),
    ways=st.integers(2, 50),
    alpha=st.floats(1e-3, 1e4),
    imbalance=st.floats(0, 5),
    spread=st.floats(0, 2),
)
def test_every_class_has_an_image_and_none_too_many(
    number: int, shots: int, ways: int, alpha: float, imbalance: float, spread: float
) -> None:
    user = share(number, scheme="dirichlet", alpha=alpha, imbalance=imbalance, shots_spread=spread)
    wanted = class_shots(user, shots, ways)
    assert len(wanted) == ways
    assert all(1 <= n <= 500 for n in wanted)


def test_classes_fall_off_as_a_power_of_their_rank() -> None:
    assert sorted(class_shots(share(imbalance=1.0), 60, 5), reverse=True) == [60, 30, 20, 15, 12]
    assert class_shots(share(), 60, 5) == [60] * 5
    orders = {tuple(class_shots(share(n, imbalance=1.0), 60, 5)) for n in range(20)}
    assert len(orders) > 10  # another class is the first for another user


def test_shots_of_users_spread_around_the_fleets() -> None:
    shots = [class_shots(share(n, shots_spread=0.5), 20, 3)[0] for n in range(500)]
    assert np.median(shots) == pytest.approx(20, rel=0.1)
    assert shots == [wanted_shots(share(n, shots_spread=0.5), 20) for n in range(500)]
    assert np.std(np.log(shots)) == pytest.approx(0.5, rel=0.15)


def test_the_less_alpha_the_more_is_of_one_class() -> None:
    largest = [
        np.mean([max(w := class_shots(share(n, scheme="dirichlet", alpha=alpha), 20, 4)) / sum(w) for n in range(200)])
        for alpha in (0.1, 1.0, 100.0)
    ]
    assert largest[0] > 0.7 > largest[1] > 0.4 > largest[2] > 0.25


def test_an_uneven_task_has_the_images_that_were_drawn() -> None:
    task = episode(3, 6, scheme="dirichlet", alpha=1.0, imbalance=0.5)
    wanted = class_shots(share(3, scheme="dirichlet", alpha=1.0, imbalance=0.5), 6, 4)
    assert counts(task) == wanted
    assert len(set(wanted)) > 1
    assert torch.bincount(task.query_labels).tolist() == [3] * 4


@given(sizes=st.lists(st.integers(1, 12), min_size=2, max_size=8), noise=st.floats(0, 0.9), seed=st.integers(0, 999))
def test_so_many_labels_are_wrong_and_each_class_keeps_a_right_one(sizes: list[int], noise: float, seed: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    changed = mislabelled(labels, len(sizes), noise, generator(seed))
    wrong = changed != labels
    assert int(wrong.sum()) == min(round(noise * len(labels)), len(labels) - len(sizes))
    assert set(labels[~wrong].tolist()) == set(range(len(sizes)))
    assert set(changed.tolist()) <= set(range(len(sizes)))


def test_wrong_labels_are_on_the_side_that_is_learnt_from_and_nowhere_else() -> None:
    right, wrong = episode(), episode(label_noise=0.5)
    assert torch.equal(right.query, wrong.query)
    assert torch.equal(right.query_labels, wrong.query_labels)
    assert wrong.support_labels.tolist() == sorted(wrong.support_labels.tolist())
    assert sum(label_of(wrong, image) != label for image, label in pairs(right)) == 8


def pairs(task: Episode) -> list[tuple[Tensor, int]]:
    return list(zip(task.support, task.support_labels.tolist(), strict=True))


def label_of(task: Episode, image: Tensor) -> int:
    return next(label for other, label in pairs(task) if torch.equal(other, image))


def test_a_plain_camera_changes_nothing() -> None:
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(PLAIN.apply(images, generator(0)), images)


@pytest.mark.parametrize(
    ("style", "seen"),
    [
        (Style(0.2, 1, 0, 0, 0), [151, 51, 51]),
        (Style(0, 0.5, 0, 0, 0), [114, 64, 64]),
        (Style(0, 1, 0, 1, 0), [100, 0, 0]),
    ],
)
def test_what_a_camera_does_to_a_red_wall(style: Style, seen: list[int]) -> None:
    wall = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    wall[:, 0] = 100
    assert style.apply(wall, generator(0))[0, :, 4, 4].tolist() == seen


def test_a_turned_hue_keeps_brightness_and_greys() -> None:
    turned = Style(0, 1, 1.0, 0, 0)
    grey = torch.full((1, 3, 4, 4), 90, dtype=torch.uint8)
    assert torch.equal(turned.apply(grey, generator(0)), grey)
    colour = torch.tensor([120, 100, 110], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 4, 4)
    seen = turned.apply(colour, generator(0)).double()
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    assert not torch.equal(seen[0, :, 0, 0], colour[0, :, 0, 0].double())
    assert float(seen[0, :, 0, 0] @ luma) == pytest.approx(float(colour[0, :, 0, 0].double() @ luma), abs=1)


def test_a_users_style_is_their_own_on_both_sides_and_grows_with_its_strength() -> None:
    def shift(number: int, style: float) -> tuple[float, float]:
        plain, seen = episode(number), episode(number, style=style)
        sides = ((plain.support, seen.support), (plain.query, seen.query))
        support, query = (float((b.double() - a.double()).abs().mean()) for a, b in sides)
        return support, query

    weak, strong = shift(5, 0.1), shift(5, 1.0)
    assert 0 < weak[0] < strong[0]
    assert strong[0] == pytest.approx(strong[1], rel=0.5)
    first, other, again = (episode(n, style=1.0) for n in (5, 6, 5))
    assert torch.equal(first.support, again.support)
    assert draw_style(1.0, generator(5)) != draw_style(1.0, generator(6))
    assert other.support.shape[1:] == first.support.shape[1:]
