"""Tasks are drawn as the protocol says, sides never overlap, and the head does what its formula says."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytrain_core.errors import (
    TooFewClassesError,
)
from tinytrain_core.fewshot.augment import Augmentation, draw_view, scale_pixels
from tinytrain_core.fewshot.datasets import ImageClass
from tinytrain_core.fewshot.episodes import (
    load_episode,
    sample_fixed,
    sample_various,
    split_groups,
    various_shots,
)
from tinytrain_core.fewshot.prototypes import accuracy, class_means, cosine_logits, loss_and_gradients, prototype_loss
from tinytrain_core.seeds import generator, torch_generator


class Fake:
    """A source of classes without images."""

    def __init__(self, *classes: ImageClass) -> None:
        self.classes = classes

    def load(self, class_index: int, image_index: int, resolution: int) -> torch.Tensor:
        return torch.full((3, resolution, resolution), class_index, dtype=torch.uint8)


def singles(*sizes: int) -> Fake:
    return Fake(*(ImageClass(f"c{k}", tuple(str(i) for i in range(n))) for k, n in enumerate(sizes)))


group_lists = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40)


@settings(deadline=None)
@given(group_lists, st.integers(1, 12), st.integers(0, 9))
def test_sides_never_share_a_group(groups: list[str], n_query: int, seed: int) -> None:
    image_class = ImageClass("x", tuple(groups))
    support, query = split_groups(image_class, n_query, generator(seed))
    assert not {groups[i] for i in support} & {groups[i] for i in query}
    assert len(query) <= n_query
    assert len(set(support)) == len(support) >= 1
    if image_class.distinct_groups > 1:
        assert query


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
    value, *found = loss_and_gradients(support, labels, query, labels, 3, 10.0)
    assert value == pytest.approx(float(loss.detach()))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_view_is_the_same_image_by_image() -> None:
    images = scale_pixels(torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8))
    view = draw_view(5, 32, Augmentation(probability=1.0, flip=1.0), torch_generator(4))
    assert view is not None
    whole = view.apply(images.clone(), 0)
    single = torch.cat([view.apply(images[i : i + 1].clone(), i) for i in range(5)])
    assert torch.equal(whole, single)
    assert not torch.allclose(whole, images, atol=0.1)
    assert draw_view(5, 32, Augmentation(probability=0.0), torch_generator(4)) is None


def test_load_episode_keeps_labels_with_images() -> None:
    source = singles(6, 6, 6)
    episode = load_episode(source, sample_fixed(source, 3, 2, 2, generator(1)), 8)
    values = episode.support[:, 0, 0, 0]
    for label in range(3):
        assert len(set(values[episode.support_labels == label].tolist())) == 1
    assert len(set(values.tolist())) == 3
