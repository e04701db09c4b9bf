"""Tasks are drawn as the protocol says, sides never overlap, and bad input is named."""

import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tinytrain_core.errors import (
    BadImageError,
    ConfigurationError,
    DataError,
    TooFewClassesError,
    TooFewImagesError,
    UnsafeArchiveError,
)
from tinytrain_core.fewshot.augment import Augmentation, draw_view, scale_pixels
from tinytrain_core.fewshot.datasets import ImageClass, decode_image, folder_source, open_source, zip_source
from tinytrain_core.fewshot.episodes import (
    load_episode,
    personal_episode,
    sample_fixed,
    sample_various,
    split_groups,
    various_shots,
)
from tinytrain_core.fewshot.glyphs import GlyphSource
from tinytrain_core.fewshot.prototypes import accuracy, class_means, cosine_logits, loss_and_gradients, prototype_loss
from tinytrain_core.fewshot.users import UserShare, user_source
from tinytrain_core.seeds import generator, torch_generator


def png(seed: int = 0, side: int = 40) -> bytes:
    pixels = generator(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_folder(root: Path, sizes: dict[str, int]) -> Path:
    for number, (name, size) in enumerate(sizes.items()):
        (root / name).mkdir(parents=True)
        for i in range(size):
            (root / name / f"{i:03d}.png").write_bytes(png(100 * number + i))
    return root


# --- sources


def test_folder_and_zip_give_the_same_images(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "data", {"cat": 3, "dog": 2})
    (folder / "notes.txt").write_text("not an image")
    (folder / "cat" / ".hidden.png").write_bytes(b"")
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(folder.rglob("*.png")):
            out.write(file, file.relative_to(folder))
    one, two = folder_source(folder), zip_source(archive)
    assert [(c.name, c.size) for c in one.classes] == [("cat", 3), ("dog", 2)]
    assert one.classes == two.classes
    assert torch.equal(one.load(1, 1, 32), two.load(1, 1, 32))
    assert one.load(0, 0, 32).shape == (3, 32, 32)


def test_frames_of_one_track_are_a_group(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("00001_00000", "00001_00001", "00002_00000"):
        (tmp_path / "a" / f"{name}.png").write_bytes(png())
    assert folder_source(tmp_path).classes[0].groups == ("00001", "00001", "00002")


def test_a_cameras_counter_is_not_a_track(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for i in range(3):
        (tmp_path / "a" / f"IMG_{i}.png").write_bytes(png())
    assert folder_source(tmp_path).classes[0].distinct_groups == 3


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:/evil.png"])
def test_a_zip_that_escapes_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr(name, png())
    with pytest.raises(UnsafeArchiveError, match="escapes"):
        zip_source(archive)


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        folder_source(tmp_path / "empty")
    with pytest.raises(ConfigurationError, match="no folder"):
        open_source(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="no file"):
        open_source(str(tmp_path / "nowhere.zip"))
    (tmp_path / "fake.zip").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not a zip"):
        open_source(str(tmp_path / "fake.zip"))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"plain text", png()[:60]])
def test_what_is_not_an_image(data: bytes) -> None:
    with pytest.raises(BadImageError):
        decode_image(data, 32)


def test_an_image_bomb_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    with pytest.raises(BadImageError, match="9000 x 9000"):
        decode_image(buffer.getvalue(), 32)


def test_images_are_cropped_from_the_centre() -> None:
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 48:80] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    image = decode_image(buffer.getvalue(), 56)  # the short side becomes 64, the image keeps its size
    assert image.shape == (3, 56, 56)
    assert image[:, :, 12:44].float().mean() == 255
    assert image[:, :, :10].max() == 0


# --- glyphs


def test_glyph_splits_share_no_script_and_no_lookalike() -> None:
    families = {split: {c.family for c in GlyphSource(split).classes} for split in ("train", "validation", "test")}
    assert not families["train"] & families["test"]
    assert not families["train"] & families["validation"]
    characters = {split: set(GlyphSource(split).characters) for split in families}
    assert "Α" in characters["test"]  # Greek Alpha is kept ...
    assert "A" not in characters["train"]  # ... so that its Latin and Cyrillic homoglyphs are not trained on
    assert "А" not in characters["validation"]
    assert min(len(c) for c in characters.values()) > 80


def test_writers_differ_and_are_themselves() -> None:
    first, second = GlyphSource(writer=1), GlyphSource(writer=2)
    assert torch.equal(first.load(3, 2, 64), GlyphSource(writer=1).load(3, 2, 64))
    assert not torch.equal(first.load(3, 2, 64), first.load(3, 3, 64))
    papers = [torch.stack([s.load(c, 0, 64).float().mean((1, 2)) for c in range(6)]) for s in (first, second)]
    between = (papers[0].mean(0) - papers[1].mean(0)).norm()
    assert between > 2 * max(p.std(0).norm() for p in papers)


def test_unknown_split() -> None:
    with pytest.raises(ConfigurationError, match="train, validation, test"):
        open_source("glyphs:latin")


# --- samplers


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


# --- a device's own images


def test_bad_images_are_counted_and_small_classes_dropped(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "d", {"a": 6, "b": 6, "lonely": 1})
    (folder / "a" / "001.png").write_bytes(b"broken")
    episode = personal_episode(folder_source(folder), 5, 3, 32, generator(0))
    assert (episode.ways, episode.dropped_classes, episode.rejected) == (2, 1, 1)
    assert len(episode.support) + len(episode.query) == 11
    assert episode.support.dtype == torch.uint8


@pytest.mark.parametrize(
    ("sizes", "error"),
    [({"only": 9}, TooFewClassesError), ({"a": 1, "b": 1}, TooFewImagesError), ({"a": 9, "b": 1}, TooFewImagesError)],
)
def test_tasks_that_cannot_be(tmp_path: Path, sizes: dict[str, int], error: type[DataError]) -> None:
    with pytest.raises(error, match="needs 2 classes"):
        personal_episode(folder_source(make_folder(tmp_path / "d", sizes)), 5, 3, 32, generator(0))


# --- simulated users


def test_users_share_no_image() -> None:
    held: Counter[tuple[int, int]] = Counter()
    folder = singles(*([30] * 12))
    import tinytrain_core.fewshot.users as users

    original, users.open_source = users.open_source, lambda *_, **__: folder
    try:
        for number in range(6):
            subset = user_source("anything", UserShare(number=number, users=6, min_ways=4, max_ways=6))
            assert 4 <= len(subset.classes) <= 6
            held.update((c, i) for c, images in subset.indices for i in images)
    finally:
        users.open_source = original
    assert max(held.values()) == 1


def test_too_many_users_for_the_data(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "d", {"a": 4, "b": 4})
    share = UserShare(number=0, users=5, min_ways=2, max_ways=2)
    with pytest.raises(TooFewImagesError, match="4 groups of images for 5 users"):
        user_source(str(folder), share)
    with pytest.raises(TooFewClassesError, match="needs 3 classes"):
        user_source(str(folder), UserShare(number=0, users=1, min_ways=3, max_ways=3))


@pytest.mark.parametrize("fields", [{"number": 3, "users": 3}, {"number": 0, "users": 1, "min_ways": 6, "max_ways": 5}])
def test_shares_that_cannot_be(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"count from 0|below min_ways"):
        UserShare(**fields)


# --- head and augmentation


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
