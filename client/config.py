"""What a node is: which devices it hosts, where their private images are, and where it keeps its state.

A node is one YAML file. Relative paths in it are relative to the folder that the file is in.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tinytrain_core.configuration import parse_settings, problems, read_yaml_file
from tinytrain_core.devices.profile import DeviceProfile, catalogue, device_profile
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.names import GLYPHS, is_file
from tinytrain_core.fewshot.share import UserShare
from tinytrain_core.wire import MAX_DEVICES_PER_NODE

NODES_VARIABLE = "TINYTRAIN_NODES"  # the environment variable that names a folder of <partition-id>.yaml
MAX_IMAGES = 500  # of a class, on either side
Images = Annotated[int, Field(ge=1, le=MAX_IMAGES)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeviceConfig(_Settings):
    """One device of a node.

    Attributes:
        number: what the operator calls it, from 1; the only identity that its reports carry, where 0 is unknown.
        profile: its class in the device catalogue.
        data: a folder of class folders, such a folder in a zip, or `glyphs`.
        user: in a simulation, which user's part of `data` it has; None is all of it.
        shots, holdout: the most images of a class to learn from, and to judge by.
        memory_bytes, compute_share, storage_bytes: instead of what its class grants.
    """

    number: int = Field(ge=1, lt=2**31)
    profile: str
    data: str = Field(min_length=1)
    user: UserShare | None = None
    shots: Images = 5
    holdout: Images = 10
    memory_bytes: int | None = Field(None, ge=0)
    compute_share: float | None = Field(None, ge=0, le=1)
    storage_bytes: int | None = Field(None, ge=0)

    @field_validator("profile")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in catalogue():
            raise ValueError(f"unknown device {name!r}; the catalogue has {', '.join(catalogue())}")
        return name

    @property
    def device_class(self) -> DeviceProfile:
        """Its entry in the catalogue."""
        return device_profile(self.profile)


class NodeConfig(_Settings):
    """One node: a device, or the gateway of several.

    Attributes:
        store: the folder of its backbones and deltas.
        pool: a folder of backbones that the nodes of one machine share, so that each is on the disk once.
        devices: at least one, each with a number of its own.
        threads: PyTorch's. More than one helps only where cores are idle, and rounds otherwise.
        simulated: nothing is timed, so that reports repeat exactly.
    """

    store: Path
    pool: Path | None = None
    devices: Annotated[tuple[DeviceConfig, ...], Field(min_length=1, max_length=MAX_DEVICES_PER_NODE)]
    threads: int = Field(1, ge=1, le=256)
    simulated: bool = False

    @field_validator("devices")
    @classmethod
    def _distinct(cls, devices: tuple[DeviceConfig, ...]) -> tuple[DeviceConfig, ...]:
        numbers = [device.number for device in devices]
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        if twice:
            raise ValueError(f"{len(devices)} devices share the numbers {twice}; give each its own")
        return devices


def parse_node_config(raw: Any, where: str) -> NodeConfig:
    """The node that the mapping `raw` describes; `where` is what to call it in an error.

    Raises:
        ConfigurationError: an unknown or missing key, a wrong type, or an unknown device class.
    """
    return parse_settings(NodeConfig, raw, f"{where} is not a node's configuration")


def _anchored(folder: Path, node: NodeConfig) -> NodeConfig:
    """The node with its relative paths made relative to `folder`."""

    def data(name: str) -> str:
        return str(folder / Path(os.path.expandvars(name)).expanduser()) if is_file(name) else name

    devices = tuple(device.model_copy(update={"data": data(device.data)}) for device in node.devices)
    pool = folder / node.pool.expanduser() if node.pool else None
    return node.model_copy(update={"store": folder / node.store.expanduser(), "pool": pool, "devices": devices})


def load_node_config(path: str | Path) -> NodeConfig:
    """Read a node's YAML file.

    Raises:
        ConfigurationError: no such file, not YAML, or not a node's configuration.
    """
    file = Path(path).expanduser()
    raw = read_yaml_file(file, "`tinytrain-client init` writes one")
    return _anchored(file.resolve().parent, parse_node_config(raw, str(file)))


def _node_from_json(text: str) -> NodeConfig:
    try:
        return NodeConfig.model_validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(problems(error, "the node's configuration as JSON")) from None


def _bare_simulation(partition: int, partitions: int, environment: Mapping[str, str]) -> NodeConfig:
    """A node for Flower's simulation engine when nothing describes it: the catalogue in turn, glyphs as data."""
    names = list(catalogue())
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinytrain-fleet" / "simulation"
    device = DeviceConfig(
        number=partition + 1,
        profile=names[partition % len(names)],
        data=GLYPHS,
        user=UserShare(number=partition, users=partitions),
    )
    return NodeConfig(store=cache / f"{partition}-of-{partitions}", devices=(device,), simulated=True)


def node_config_for(node_config: Mapping[str, Any], environment: Mapping[str, str]) -> NodeConfig:
    """The node that a Flower runtime has started, in this order.

    1. `config` of Flower's node configuration: the path of a YAML file.
    2. `node` of it: the node itself as JSON, as simulated ones have.
    3. `TINYTRAIN_NODES`: a folder that holds `<partition-id>.yaml`.
    4. `partition-id` and `num-partitions` alone, as Flower's simulation engine gives them: a simulated device.

    Raises:
        ConfigurationError: none of the four, or a file that is missing or wrong.
    """
    if "config" in node_config:
        return load_node_config(str(node_config["config"]))
    if "node" in node_config:
        return _node_from_json(str(node_config["node"]))
    partition, partitions = node_config.get("partition-id"), node_config.get("num-partitions")
    if isinstance(partition, int) and environment.get(NODES_VARIABLE):
        return load_node_config(Path(environment[NODES_VARIABLE]) / f"{partition}.yaml")
    if isinstance(partition, int) and isinstance(partitions, int):
        return _bare_simulation(partition, partitions, environment)
    raise ConfigurationError(
        "this node has no configuration; start it with --node-config 'config=\"node.yaml\"', "
        f"not with {sorted(node_config) or 'nothing'}"
    )
