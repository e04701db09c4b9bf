import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from client.config import NodeConfig, parse_node_config
from tests.client.agents import NOW, SECRET, Device, backbones, open_device, write_device
from tests.client.images import write_images
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import to_bytes


def make_node(tmp_path: Path, *devices: dict[str, object]) -> NodeConfig:
    return parse_node_config({"store": tmp_path / "store", "simulated": True, "devices": list(devices)}, "test")


@pytest.fixture(scope="session")
def backbone_data(mcunet: Backbone) -> bytes:
    return to_bytes(mcunet, torch.float16)


@pytest.fixture(scope="session")
def files() -> list[bytes]:
    """Three backbones."""
    return backbones(3)


@pytest.fixture(scope="session")
def data(files: list[bytes]) -> bytes:
    """A backbone."""
    return files[0]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    opened = open_device(write_device(tmp_path))
    yield opened
    opened.state.close()


@pytest.fixture
def secret_device(tmp_path: Path) -> Iterator[Device]:
    """A device in a place, and with classes, whose names would be seen if they left it."""
    place = tmp_path / SECRET
    write_images(place / "images11", 2, 4, prefix=SECRET)
    opened = open_device(write_device(place))
    yield opened
    opened.state.close()


@pytest.fixture
def at_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is NOW, and stays it."""
    monkeypatch.setattr(time, "time", lambda: NOW)
