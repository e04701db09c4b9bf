"""Files of published weights as tensors by name. Nothing in such a file is ever executed."""

import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tinytrain_core.errors import UNREADABLE, BackboneError, ConfigurationError

BLOCK_PARTS = {"pw1": "pointwise1", "dw": "depthwise", "pw2": "pointwise2"}


def _read_int8(file: Path) -> dict[str, Tensor]:
    """The arrays of a numpy archive, and the input scale of every layer as `LAYER.x_scale`."""
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
        tensors = {name: torch.from_numpy(archive[name]) for name in archive.files if name != "__config__"}
        config = json.loads(archive["__config__"].tobytes())
    layers = {"first_conv": config["first_conv"], "classifier": config["classifier"]}
    for number, block in enumerate(config["blocks"]):
        layers |= {f"blocks.{number}.{part}": block[part] for part in BLOCK_PARTS.values() if block[part]}
    scales = {f"{n}.x_scale": torch.tensor(layer["params"]["x_scale"]).double() for n, layer in layers.items()}
    return tensors | scales


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(file)


def _read_state_dict(file: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(file, weights_only=True, map_location="cpu")
    return state


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, by the layout that its ending names.

    Raises:
        ConfigurationError: there is no such file.
        BackboneError: it cannot be read, or holds something other than tensors.
    """
    if not file.is_file():
        raise ConfigurationError(f"no weights at {file}")
    readers: dict[str, Callable[[Path], dict[str, Tensor]]] = {".npz": _read_int8, ".safetensors": _read_safetensors}
    try:
        tensors = readers.get(file.suffix, _read_state_dict)(file)
    except (*UNREADABLE, AssertionError, zipfile.BadZipFile, zlib.error, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BackboneError(f"{file} is not a file of plain tensors ({type(error).__name__}: {reason})") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise BackboneError(f"{file} holds something other than tensors by name")
    return tensors
