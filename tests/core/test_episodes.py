"""Tasks are drawn as the protocol says, sides never overlap, and the head does what its formula says."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytrain_core.errors import TooFewClassesError
from tinytrain_core.fewshot.augment import Augmentation, draw_view, scale_pixels
from tinytrain_core.fewshot.datasets import ImageClass
from tinytrain_core.fewshot.episodes import (
    load_episode,
    sample_fixed,
    sample_various,
    split_groups,
    various_shots,
)
from tinytrain_core.fewshot.prototypes import accuracy, class_means, cosine_logits, loss_and_gradients_, prototype_loss
from tinytrain_core.seeds import generator, torch_generator


class Fake:
    """A source of classes without images."""

    def __init__(self, *classes: ImageClass) -> None:
        self.classes = classes

    def load(self, class_index: int, image_index: int, resolution: int) -> torch.Tensor:
        return torch.full((3, resolution, resolution), class_index, dtype=torch.uint8)


def singles(*sizes: int) -> Fake:
    return Fake(*(ImageClass(f"c{k}", tuple(str(i) for i in range(n))) for k, n in enumerate(sizes)))


group_lists = st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=40)
any_groups = given(group_lists, st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))


def split(groups: list[str], shots: int, n_query: int, seed: int) -> tuple[list[int], list[int]]:
    return split_groups(ImageClass("x", tuple(groups)), shots, n_query, generator(seed))


def sizes_of(groups: list[str], images: list[int]) -> Counter[str]:
    return Counter(groups[i] for i in images)


@settings(deadline=None)
@any_groups
def test_sides_never_share_a_group(groups: list[str], shots: int, n_query: int, seed: int) -> None:
    support, query = split(groups, shots, n_query, seed)
    on_support, on_query = sizes_of(groups, support), sizes_of(groups, query)
    assert not on_support.keys() & on_query.keys()
    assert len({*support, *query}) == len(support) + len(query)
    assert on_support == {group: groups.count(group) for group in on_support}  # all candidates of a group are there


@settings(deadline=None)
@any_groups
def test_a_side_takes_from_its_groups_in_turns(groups: list[str], shots: int, n_query: int, seed: int) -> None:
    for side in split(groups, shots, n_query, seed):
        owners = [groups[i] for i in side]
        turns = [owners[:k].count(owner) for k, owner in enumerate(owners)]
        assert turns == sorted(turns)


@settings(deadline=None)
@any_groups
def test_sizes_and_spread(groups: list[str], shots: int, n_query: int, seed: int) -> None:
    support, query = split(groups, shots, n_query, seed)
    left, taken = sizes_of(groups, support), sizes_of(groups, query)
    assert support
    assert (0 < len(query) <= n_query) or len(set(groups)) == 1
    if len(query) < n_query:
        assert len(left) == 1  # the last group stays for the support
    elif len(taken) < n_query and len(left) > 1:
        assert len(support) - max(left.values()) < shots  # one group more would have cost the support its shots


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 20), st.integers(0, 9))
def test_many_tracks_give_each_query_image_its_own(shots: int, n_query: int, more: int, seed: int) -> None:
    groups = [f"track{i}" for i in range(shots + n_query + more) for _ in range(3)]
    support, query = split(groups, shots, n_query, seed)
    assert len(sizes_of(groups, query)) == n_query
    assert len(sizes_of(groups, support[:shots])) == shots


def test_few_shots_leave_more_tracks_to_the_query() -> None:
    groups = [f"track{i}" for i in range(6) for _ in range(5)]
    spread = [len(sizes_of(groups, split(groups, shots, 5, seed=0)[1])) for shots in (1, 6, 11, 25)]
    assert spread == [5, 4, 3, 1]


@settings(deadline=None)
@any_groups
def test_what_the_fixed_sampler_calls_enough_is_enough(groups: list[str], shots: int, n_query: int, seed: int) -> None:
    source = Fake(*[ImageClass("x", tuple(groups))] * 2)
    try:
        draws = sample_fixed(source, 2, shots, n_query, generator(seed))
    except TooFewClassesError:
        assert len(groups) < shots + n_query + max(Counter(groups).values()) - 1 or len(set(groups)) == 1
    else:
        assert {(len(draw.support), len(draw.query)) for draw in draws} == {(shots, n_query)}


def test_fixed_sampler_gives_what_was_asked() -> None:
    draws = sample_fixed(singles(20, 20, 20, 4), 3, 5, 10, generator(0))
    assert sorted(d.class_index for d in draws) == [0, 1, 2]
    assert all(len(d.support) == 5 and len(d.query) == 10 and not set(d.support) & set(d.query) for d in draws)
    with pytest.raises(TooFewClassesError, match="3 classes have them"):
        sample_fixed(singles(20, 20, 20, 4), 4, 5, 10, generator(0))


def test_fixed_sampler_counts_whole_groups() -> None:
    groups = Fake(*(ImageClass(f"c{k}", tuple("aaaaaaaabb")) for k in range(3)))
    with pytest.raises(TooFewClassesError):
        sample_fixed(groups, 2, 2, 4, generator(0))


def test_various_sampler_follows_meta_dataset() -> None:
    source = singles(*([40] * 30 + [12] * 30))
    for seed in range(40):
        draws = sample_various(source, generator(seed))
        smallest = min(source.classes[d.class_index].size for d in draws)
        assert 5 <= len(draws) <= 50
        assert {len(d.query) for d in draws} == {min(10, smallest // 2)}
        assert all(len(d.support) >= 1 for d in draws)
        assert sum(len(d.support) for d in draws) <= 500


def test_various_shots_by_hand() -> None:
    """With known draws: beta = 1 - u, and shares in proportion to images x exp(U(log 1/2, log 2))."""
    images = np.array([20, 40, 100])
    rng, twin = generator(7), generator(7)
    beta = 1 - twin.random()
    total = min(500, sum(int(np.floor(beta * min(100, n - 10) + 1)) for n in images))
    weight = images * np.exp(twin.uniform(np.log(0.5), np.log(2), 3))
    expected = np.minimum(np.floor(weight / weight.sum() * (total - 3)) + 1, images - 10)
    assert various_shots(images, 10, rng).tolist() == expected.tolist()


def test_various_sampler_stays_in_one_alphabet() -> None:
    classes = [ImageClass(f"{a}__c{k}", tuple("abcdefghij")) for a in ("Greek", "Latin") for k in range(8)]
    seen = Counter()
    for seed in range(20):
        names = {classes[d.class_index].family for d in sample_various(Fake(*classes), generator(seed))}
        assert len(names) == 1
        seen.update(names)
    assert len(seen) == 2


def test_prototypes_by_hand() -> None:
    support = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([0, 0, 1])
    means = class_means(support, labels, 2)
    assert means.tolist() == [[3.0, 0.0], [0.0, 1.0]]
    logits = cosine_logits(torch.tensor([[3.0, 4.0]]), means, 10.0)
    assert torch.allclose(logits, torch.tensor([[6.0, 8.0]]))
    assert accuracy(support, labels, torch.tensor([[3.0, 4.0], [1.0, 0.1]]), torch.tensor([1, 1]), 2) == 0.5


def test_head_gradients_are_those_of_the_loss() -> None:
    support = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    query = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    loss = prototype_loss(support, labels, query, labels, 3, 10.0)
    expected = torch.autograd.grad(loss, (support, query))
    found = support.detach().clone(), query.detach().clone()
    value = loss_and_gradients_(*found, labels, 3, 10.0)
    assert value == pytest.approx(float(loss.detach()), abs=1e-14)
    assert all(torch.allclose(a, b, atol=1e-14, rtol=0) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("scale", [0.1, 10.0, 500.0])
def test_head_gradients_of_unequal_classes_and_lengths(scale: float) -> None:
    labels = torch.tensor([0, 1, 1, 1, 2, 2, 1])
    support, query = (
        (torch.rand(7, 5, dtype=torch.float64) * torch.logspace(-4, 4, 7)[:, None]).requires_grad_() for _ in range(2)
    )
    loss = prototype_loss(support, labels, query, labels, 3, scale)
    expected = torch.autograd.grad(loss, (support, query))
    found = support.detach().clone(), query.detach().clone()
    assert loss_and_gradients_(*found, labels, 3, scale) == pytest.approx(float(loss.detach()), abs=1e-12)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_view_is_the_same_image_by_image() -> None:
    images = scale_pixels(torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8))
    view = draw_view(5, 32, Augmentation(flip=1.0), torch_generator(4))
    whole = view.apply(images.clone(), 0)
    single = torch.cat([view.apply(images[i : i + 1].clone(), i) for i in range(5)])
    assert torch.equal(whole, single)
    assert not torch.allclose(whole, images, atol=0.1)


def test_load_episode_keeps_labels_with_images() -> None:
    source = singles(6, 6, 6)
    episode = load_episode(source, sample_fixed(source, 3, 2, 2, generator(1)), 8)
    values = episode.support[:, 0, 0, 0]
    for label in range(3):
        assert len(set(values[episode.support_labels == label].tolist())) == 1
    assert len(set(values.tolist())) == 3
