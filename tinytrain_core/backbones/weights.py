"""Folded weights in and out: safetensors bytes with the architecture's name and the head's scale inside.

The bytes are the unit that travels and is hashed: the digest of a backbone is the SHA-256 of its file.
"""

import json
import math
from importlib.resources import files
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec, load_spec
from tinytrain_core.digests import digest as digest
from tinytrain_core.errors import BackboneError, ConfigurationError

FORMAT = "tinytrain-folded-1"
SHIPPED = "mcunet-5fps"  # of those in the package, the one that is used where none is named
BACKBONE_HELP = f"A .safetensors file, or a shipped one by name; by default {SHIPPED}."
MAX_FILE_BYTES = 16 * 2**20


def to_bytes(backbone: Backbone, dtype: torch.dtype = torch.float32) -> bytes:
    """Serialise to safetensors, stored as `dtype`."""
    tensors = {}
    for conv, weight, bias in zip(backbone.spec.convs, backbone.weights, backbone.biases, strict=True):
        tensors[f"{conv.name}.weight"] = weight.detach().to(dtype).contiguous()
        tensors[f"{conv.name}.bias"] = bias.detach().to(dtype).contiguous()
    # One metadata entry only: safetensors does not keep the order of several, and the digest must be stable.
    header = {"format": FORMAT, "architecture": backbone.spec.name, "head_scale": repr(backbone.head_scale)}
    return safetensors.torch.save(tensors, {"tinytrain": json.dumps(header, sort_keys=True)})


def is_backbone_file(path: Path) -> bool:
    """Whether the file is, by its ending, one of this project and not somebody else's weights."""
    return not str(path) or path == Path() or path.suffix == ".safetensors"


def _header(data: bytes) -> dict[str, str]:
    """The project's own entry in the safetensors header."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise BackboneError(f"not a safetensors file: {len(data)} bytes, header says {length}")
    try:
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["tinytrain"])
        usable = 0 < float(header["head_scale"]) < math.inf and isinstance(header["architecture"], str)
    except (ValueError, KeyError, TypeError) as error:
        raise BackboneError("the file has no readable TinyTrain header; was it written by this project?") from error
    if not usable:
        raise BackboneError("the TinyTrain header needs an architecture's name and a head_scale above 0")
    if header.get("format") != FORMAT:
        raise BackboneError(f"the backbone's format is {header.get('format')!r}, this version reads {FORMAT!r}")
    return dict(header)


def _take(tensors: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None:
        raise BackboneError(f"tensor {name!r} is missing")
    if tuple(tensor.shape) != shape:
        raise BackboneError(f"tensor {name!r} has shape {tuple(tensor.shape)}, the architecture needs {shape}")
    if not torch.isfinite(tensor).all():
        raise BackboneError(f"tensor {name!r} holds numbers that are not finite")
    return tensor.float()


def _assemble(spec: BackboneSpec, tensors: dict[str, Tensor], head_scale: float) -> Backbone:
    weights = tuple(_take(tensors, f"{conv.name}.weight", conv.weight_shape) for conv in spec.convs)
    biases = tuple(_take(tensors, f"{conv.name}.bias", (conv.out_channels,)) for conv in spec.convs)
    extra = set(tensors) - {f"{conv.name}.{part}" for conv in spec.convs for part in ("weight", "bias")}
    if extra:
        raise BackboneError(f"tensors that {spec.name} does not have: {', '.join(sorted(extra)[:5])}")
    return Backbone(spec, weights, biases, head_scale)


def from_bytes(data: bytes) -> Backbone:
    """Read a backbone.

    Raises:
        BackboneError: not a safetensors file of this project, or a tensor is missing, of the wrong shape,
            not finite, or unknown to the architecture.
    """
    if len(data) > MAX_FILE_BYTES:
        raise BackboneError(f"the backbone has {len(data)} bytes, the limit is {MAX_FILE_BYTES}")
    header = _header(data)
    try:
        tensors = safetensors.torch.load(data)
        spec = load_spec(header["architecture"])
    except (safetensors.SafetensorError, ConfigurationError) as error:
        raise BackboneError(f"the backbone cannot be read: {error}") from error
    return _assemble(spec, tensors, float(header["head_scale"]))


def shipped_path(name: str = SHIPPED) -> Path:
    """The file of a backbone that is in the package."""
    return Path(str(files(__package__) / "shipped" / f"{name}.safetensors"))


def shipped_names() -> list[str]:
    """The backbones that are in the package."""
    return sorted(file.stem for file in shipped_path().parent.glob("*.safetensors"))


def backbone_path(name: str | Path) -> Path:
    """The file that `name` means: a file's path, the name of a shipped backbone, or, empty, the one shipped by default.

    Raises:
        ConfigurationError: there is no such file.
    """
    named = str(name) or SHIPPED
    file = shipped_path(named) if named in shipped_names() else Path(named)
    if not file.is_file():
        raise ConfigurationError(
            f"no backbone at {file}; give a .safetensors file written by tinytrain-server, "
            f"or one that is shipped: {', '.join(shipped_names())}"
        )
    return file


def read_bytes(name: str | Path) -> bytes:
    """The bytes of the file that `name` means, as `backbone_path` takes it.

    Raises:
        ConfigurationError: there is no such file.
    """
    return backbone_path(name).read_bytes()
