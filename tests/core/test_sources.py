"""A source is what its name says, a split is what its list says, and joining moves no image."""

import json
import zipfile
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pictures import make_pictures, picture, zipped
from tinytrain_core.errors import ConfigurationError, DataError
from tinytrain_core.fewshot.datasets import ImageClass, ImageSource, folder_source
from tinytrain_core.fewshot.sources import is_file, is_glyphs, join, open_source, split_path

SPLITS = {"train": ["cat", "dog"], "test": ["owl"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = make_pictures(tmp_path / "data", {"cat": 2, "dog": 3, "owl": 2})
    (root / "splits.json").write_text(json.dumps(SPLITS), encoding="utf-8")
    return root


@pytest.fixture(params=["folder", "zip"])
def named(request: pytest.FixtureRequest, folder: Path) -> str:
    return str(folder if request.param == "folder" else zipped(folder))


def names(source: ImageSource) -> list[str]:
    return [image_class.name for image_class in source.classes]


def test_a_split_is_the_classes_it_lists(named: str, folder: Path) -> None:
    whole, train, test = folder_source(folder), open_source(f"{named}:train"), open_source(f"{named}:test")
    assert names(open_source(named)) == ["cat", "dog", "owl"]
    assert (names(train), names(test)) == (["cat", "dog"], ["owl"])
    assert torch.equal(train.load(1, 2, 16), whole.load(1, 2, 16))
    assert torch.equal(test.load(0, 1, 16), whole.load(2, 1, 16))


def test_an_unknown_split_lists_the_known_ones(named: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no split 'val'; its splits are train, test"):
        open_source(f"{named}:val")


def test_without_a_list_there_are_no_splits(named: str, folder: Path) -> None:
    (folder / "splits.json").unlink()
    source = str(folder) if Path(named).is_dir() else str(zipped(folder))
    with pytest.raises(ConfigurationError, match=r"no splits\.json"):
        open_source(f"{source}:train")


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"{", DataError, "not JSON"),
        (b"\xff\xfe{", DataError, "not JSON"),
        (b"[1]", ConfigurationError, "no split 'train'"),
        (b'{"train": "cat"}', ConfigurationError, "no split 'train'"),
        (b'{"train": ["cat", "yak", "emu"]}', DataError, "emu, yak"),
    ],
)
def test_a_broken_list_is_named(folder: Path, content: bytes, error: type[Exception], said: str) -> None:
    (folder / "splits.json").write_bytes(content)
    for source in (folder, zipped(folder)):
        with pytest.raises(error, match=said):
            open_source(f"{source}:train")


def test_a_damaged_list_in_a_zip_is_a_data_error(folder: Path) -> None:
    archive = zipped(folder)
    data = archive.read_bytes()
    listed = json.dumps(SPLITS).encode()
    archive.write_bytes(data.replace(listed, listed.replace(b"cat", b"bat")))  # its checksum is now wrong
    with pytest.raises(DataError, match=r"splits\.json"):
        open_source(f"{archive}:train")


def test_two_classes_of_one_name_do_not_hide_an_absent_one(tmp_path: Path) -> None:
    root = make_pictures(tmp_path / "data", {"farm/cat": 2, "home/cat": 2})
    (root / "splits.json").write_text(json.dumps({"train": ["cat", "dog"]}), encoding="utf-8")
    with pytest.raises(DataError, match="dog"):
        open_source(f"{root}:train")


def test_an_archive_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    archive = zipped(make_pictures(tmp_path / "data", {"a": 1, "b": 1}))
    assert names(open_source(str(archive))) == ["a", "b"]
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("c/0.png", picture(1, 50))
    assert names(open_source(str(archive))) == ["c"]


def test_names_come_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTRAIN_TEST_DATA", str(folder.parent))
    monkeypatch.setenv("HOME", str(folder.parent))
    for name in ("$TINYTRAIN_TEST_DATA/data:test", "${TINYTRAIN_TEST_DATA}/data:test", "~/data:test"):
        assert names(open_source(name)) == ["owl"]


@pytest.mark.parametrize("name", ["$TINYTRAIN_NOT_SET/data.zip", "${TINYTRAIN_NOT_SET}/data:train"])
def test_an_environment_variable_that_is_not_set_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"TINYTRAIN_NOT_SET.*not set"):
        open_source(name)


@pytest.mark.parametrize(
    ("name", "path", "split"),
    [
        ("C:\\data\\x", "C:\\data\\x", ""),
        ("C:\\data\\x.zip:val", "C:\\data\\x.zip", "val"),
        ("C:/data/x", "C:/data/x", ""),
        ("C:/data/x:val", "C:/data/x", "val"),
        ("C:x", "C:x", ""),
        ("data", "data", ""),
        ("data:", "data", ""),
        ("/a:b/data", "/a:b/data", ""),
        ("/a:b/data:val", "/a:b/data", "val"),
    ],
)
def test_only_what_follows_a_path_is_a_split(name: str, path: str, split: str) -> None:
    assert split_path(name) == (Path(path), split)


@pytest.mark.parametrize("name", ["odd:name", "cost$", "cost$:train", "~tilde"])
def test_odd_folders_that_are_there_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, name: str
) -> None:
    folder.rename(tmp_path / name.removesuffix(":train"))
    expected = ["cat", "dog"] if name.endswith(":train") else ["cat", "dog", "owl"]
    assert names(open_source(f"{tmp_path}/{name}")) == expected
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names(open_source(f"~/{name}")) == expected


def test_names_of_no_file_are_told_from_files() -> None:
    assert [is_file(name) for name in ("torchvision:MNIST", "glyphs", "glyphs:train")] == [False] * 3
    assert [is_glyphs(name) for name in ("torchvision:MNIST", "glyphs", "glyphs:train")] == [False, True, True]
    assert [is_file(name) for name in ("C:\\x", "C:/x:train", "x.zip", "./glyphs:train", "$D/x")] == [True] * 5


@dataclass(frozen=True)
class Numbered:
    """A source whose images say which they are."""

    number: int
    classes: tuple[ImageClass, ...]

    def load(self, class_index: int, image_index: int, resolution: int, margin: float = 2.0) -> torch.Tensor:
        assert 0 <= image_index < self.classes[class_index].size
        return torch.tensor([self.number, class_index, image_index, resolution, margin])


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), max_size=4), min_size=1, max_size=5))
def test_joined_sources_load_across_their_borders(sizes: list[list[int]]) -> None:
    sources = [
        Numbered(n, tuple(ImageClass(f"{n}-{k}", ("g",) * size) for k, size in enumerate(of_one)))
        for n, of_one in enumerate(sizes)
    ]
    joined = join(sources)
    assert names(joined) == [f"{n}-{k}" for n, of_one in enumerate(sizes) for k in range(len(of_one))]
    starts = [0, *accumulate(map(len, sizes))]
    for n, of_one in enumerate(sizes):
        for k, size in enumerate(of_one):
            assert joined.load(starts[n] + k, size - 1, 7, margin=1.0).tolist() == [n, k, size - 1, 7, 1]
