"""Sources give the images they hold, users share none, and bad input is named."""

import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tinytrain_core.errors import (
    BadImageError,
    ConfigurationError,
    DataError,
    TooFewClassesError,
    TooFewImagesError,
    UnsafeArchiveError,
)
from tinytrain_core.fewshot import glyphs
from tinytrain_core.fewshot.datasets import Subset, decode_image, folder_source, zip_source
from tinytrain_core.fewshot.episodes import (
    personal_episode,
)
from tinytrain_core.fewshot.glyphs import GlyphSource
from tinytrain_core.fewshot.sources import open_source
from tinytrain_core.fewshot.users import UserShare, user_source
from tinytrain_core.seeds import generator


def png(seed: int = 0, side: int = 40) -> bytes:
    pixels = generator(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_folder(root: Path, sizes: dict[str, int], side: int = 40) -> Path:
    for number, (name, size) in enumerate(sizes.items()):
        (root / name).mkdir(parents=True)
        for i in range(size):
            (root / name / f"{i:03d}.png").write_bytes(png(100 * number + i, side))
    return root


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


def test_one_odd_name_does_not_dissolve_the_tracks(tmp_path: Path) -> None:
    for name in ("a/00001_0", "a/00001_1", "a/cover", "b/00007_0", "b/00007_1", "c/00001_0", "c/00002_0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(png())
    groups = {c.name: c.groups for c in folder_source(tmp_path).classes}
    assert groups == {"a": ("00001", "00001", "a/cover.png"), "b": ("00007", "00007"), "c": ("00001", "00002")}


def test_a_cameras_counter_is_not_a_track(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for i in range(3):
        (tmp_path / "a" / f"IMG_{i}.png").write_bytes(png())
    assert folder_source(tmp_path).classes[0].distinct_groups == 3


@pytest.mark.parametrize(
    "name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:/evil.png", "."]
)
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


def test_a_thin_image_stays_small() -> None:
    buffer = io.BytesIO()
    Image.new("L", (1, 3_000_000)).save(buffer, "PNG")
    assert decode_image(buffer.getvalue(), 32).shape == (3, 32, 32)


def test_a_damaged_member_is_one_bad_image(tmp_path: Path) -> None:
    archive = tmp_path / "d.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a/0.png", png())
        out.writestr("a/1.png", png(1))
    data = bytearray(archive.read_bytes())
    data[60:90] = bytes(30)
    archive.write_bytes(data)
    source = zip_source(archive)
    with pytest.raises(BadImageError):
        source.load(0, 0, 32)
    assert source.load(0, 1, 32).shape == (3, 32, 32)


def test_images_are_cropped_from_the_centre() -> None:
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 48:80] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    image = decode_image(buffer.getvalue(), 56)  # the short side becomes 64, the image keeps its size
    assert image.shape == (3, 56, 56)
    assert image[:, :, 12:44].float().mean() == 255
    assert image[:, :, :10].max() == 0


def test_glyph_splits_share_no_script_and_no_lookalike() -> None:
    families = {split: {c.family for c in GlyphSource(split).classes} for split in ("train", "validation", "test")}
    assert not families["train"] & families["test"]
    assert not families["train"] & families["validation"]
    characters = {split: set(GlyphSource(split).characters) for split in families}
    assert "Α" in characters["test"]  # Greek Alpha is kept ...
    assert "A" not in characters["train"]  # ... so that its Latin and Cyrillic homoglyphs are not trained on
    assert "А" not in characters["validation"]
    assert min(len(c) for c in characters.values()) > 80


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_no_two_characters_of_a_split_look_alike(split: str) -> None:
    """Drawn again in both reference faces, no pair correlates above the limit; nor with another split's."""
    own, _ = glyphs._split(split)
    rows = torch.stack([glyphs._signature(c) for c in own])  # type: ignore[misc]
    for face in (0, 1):
        correlation = rows[:, face] @ rows[:, face].t()
        assert float(correlation.fill_diagonal_(0).max()) < glyphs.LOOKALIKE_CORRELATION
        if split != "test":
            held_out = torch.stack([glyphs._signature(c) for c in glyphs._split("test")[0]])  # type: ignore[misc]
            assert float((rows[:, face] @ held_out[:, face].t()).max()) < glyphs.CROSS_SPLIT_CORRELATION


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


def test_users_share_no_image(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "d", {f"c{k}": 30 for k in range(12)}, side=8)
    held: Counter[tuple[int, int]] = Counter()
    for number in range(6):
        subset = user_source(str(folder), UserShare(number=number, users=6, min_ways=4, max_ways=6))
        assert isinstance(subset, Subset)
        assert 4 <= len(subset.classes) <= 6
        held.update((c, i) for c, images in subset.indices for i in images)
    assert max(held.values()) == 1


def test_too_many_users_for_the_data(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "d", {"a": 4, "b": 4})
    share = UserShare(number=0, users=5, min_ways=2, max_ways=2)
    with pytest.raises(TooFewImagesError, match="after 2 of 5 users, 0 classes have 2 groups"):
        user_source(str(folder), share)
    with pytest.raises(TooFewClassesError, match="needs 3 classes"):
        user_source(str(folder), UserShare(number=0, users=1, min_ways=3, max_ways=3))


@pytest.mark.parametrize("fields", [{"number": 3, "users": 3}, {"number": 0, "users": 1, "min_ways": 6, "max_ways": 5}])
def test_shares_that_cannot_be(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"count from 0|below min_ways"):
        UserShare(**fields)
