from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from client.config import NodeConfig, parse_node_config
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import to_bytes


def write_images(folder: Path, classes: int, images: int, prefix: str = "class") -> Path:
    """A folder of class folders with small images, each class in a colour of its own."""
    rng = np.random.default_rng(classes)
    for label in range(classes):
        (folder / f"{prefix}{label}").mkdir(parents=True)
        for number in range(images):
            pixels = np.clip(rng.normal(60 + 60 * label, 30, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{prefix}{label}" / f"{chr(97 + number)}.png")
    return folder


def make_node(tmp_path: Path, *devices: dict[str, object]) -> NodeConfig:
    return parse_node_config({"store": tmp_path / "store", "simulated": True, "devices": list(devices)}, "test")


@pytest.fixture(scope="session")
def backbone_data(mcunet: Backbone) -> bytes:
    return to_bytes(mcunet, torch.float16)
