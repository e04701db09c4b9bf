"""torchvision's data sets, read from small files of the real formats; the network is never touched."""

import sys
import urllib.request
import zipfile
from hashlib import md5
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tinytrain_core.errors import BadImageError, ConfigurationError
from tinytrain_core.fewshot.datasets import folder_source
from tinytrain_core.fewshot.sources import open_source
from tinytrain_core.seeds import generator

if find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

from tinytrain_core.fewshot.torchvision_import import torchvision_datasets


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every request fails; what was asked for."""
    asked: list[object] = []

    def fail(request: object, *_: object, **__: object) -> None:
        asked.append(request)
        raise URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    return asked


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYTRAIN_DATA", str(tmp_path))
    return tmp_path / "torchvision"


def pixels(*shape: int) -> NDArray[np.uint8]:
    return generator(0).integers(0, 256, shape, dtype=np.uint8)


def idx(array: NDArray[np.uint8]) -> bytes:
    """MNIST's file format."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def write_mnist(root: Path, labels: list[int]) -> NDArray[np.uint8]:
    images, folder = pixels(len(labels), 28, 28), root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.array(labels, np.uint8)))
    return images


def write_image(file: Path, side: int = 40) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(side, side, 3)).save(file)


def test_images_by_class_from_labels_alone(root: Path, offline: list[object]) -> None:
    images = write_mnist(root, [3, 0, 3, 3])
    source = open_source("torchvision:MNIST:test")
    assert [(c.name, c.size, c.distinct_groups) for c in source.classes] == [("0 - zero", 1, 1), ("3 - three", 3, 3)]
    loaded = source.load(1, 1, 28, margin=1.0)
    assert torch.equal(loaded, torch.from_numpy(images[2]).expand(3, -1, -1))
    assert open_source("torchvision:MNIST").classes == source.classes
    assert not offline


def test_the_crop_is_that_of_other_sources(root: Path) -> None:
    write_image(root / "eurosat" / "2750" / "Forest" / "Forest_1.png", 90)
    ours = open_source("torchvision:EuroSAT")
    assert [c.name for c in ours.classes] == ["Forest"]
    assert torch.equal(ours.load(0, 0, 32), folder_source(root / "eurosat" / "2750").load(0, 0, 32))


def test_the_frames_of_a_track_are_one_group(root: Path) -> None:
    folder = root / "gtsrb" / "GTSRB" / "Training"
    for name in ("00000/00000_00000", "00000/00000_00001", "00000/00001_00000", "00001/00000_00000"):
        write_image(folder / f"{name}.ppm")
    source = open_source("torchvision:GTSRB:train")
    assert [(c.name, c.groups) for c in source.classes] == [("000", ("00000", "00000", "00001")), ("001", ("00000",))]
    (folder / "00000" / "00000_00001.ppm").write_bytes(b"junk")
    with pytest.raises(BadImageError, match="cannot be read"):
        source.load(0, 1, 32)


def test_characters_are_of_their_alphabet(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "omniglot-py"
    for name in ("Latin/character02/1_1", "Latin/character01/2_2", "Latin/character01/2_1", "Greek/character01/3_1"):
        write_image(folder / "images_background" / f"{name}.png")
    with zipfile.ZipFile(folder / "images_background.zip", "w"):
        pass
    checksum = md5((folder / "images_background.zip").read_bytes()).hexdigest()
    monkeypatch.setitem(torchvision_datasets().Omniglot.zips_md5, "images_background", checksum)
    classes = open_source("torchvision:Omniglot").classes
    assert [c.name for c in classes] == ["Greek__character01", "Latin__character01", "Latin__character02"]
    assert classes[0].family == "Greek"
    assert classes[1].groups == ("2_1.png", "2_2.png")


def test_what_is_not_there_is_downloaded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = []

    def download(url: str, folder: str) -> None:
        downloads.append(url)
        data = Path(folder) / "fgvc-aircraft-2013b" / "data"
        write_image(data / "images" / "007.jpg")
        (data / "variants.txt").write_text("F-16A/B\n")
        for split in ("test", "val"):
            (data / f"images_variant_{split}.txt").write_text("007 F-16A/B\n")

    fgvc = sys.modules[torchvision_datasets().FGVCAircraft.__module__]
    monkeypatch.setattr(fgvc, "download_and_extract_archive", download)
    for split in ("test", "val"):
        assert [c.name for c in open_source(f"torchvision:FGVCAircraft:{split}").classes] == ["F-16A/B"]
    assert len(downloads) == 1


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "GTSRB", "USPS", "StanfordCars"])
def test_a_failed_download_is_one_clear_error(root: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="could not be downloaded") as raised:
        open_source(f"torchvision:{name}:test")
    assert f"not (whole) in {root}" in str(raised.value)
    assert "TINYTRAIN_DATA" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_unknown_names_and_splits_list_the_known(root: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"CIFAR10, .*Omniglot, .*USPS"):
        open_source("torchvision:cifar")
    with pytest.raises(ConfigurationError, match="train, test, extra"):
        open_source("torchvision:SVHN:val")


def test_without_torchvision_the_error_says_how_to_get_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torchvision", "torchvision.datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'tinytrain-fleet\[train\]'"):
        open_source("torchvision:MNIST")


def test_every_data_set_is_one_of_torchvision() -> None:
    from tinytrain_core.fewshot.torchvision_source import DATA_SETS

    assert all(hasattr(torchvision_datasets(), name) for name in DATA_SETS)
