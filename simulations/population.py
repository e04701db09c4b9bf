"""Who the devices of a simulated fleet are: each one's class, its user and the node that hosts it.

A pure function of the settings. What it writes is one node file each, in the very format that an operator
writes for a real node, so that simulated and real nodes differ in nothing but who wrote the file.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import yaml
from numpy.typing import NDArray

from client.config import DeviceConfig, NodeConfig
from simulations.settings import FleetSettings
from simulations.world.availability import presence
from simulations.world.draws import Figure, factor
from tinytrain_core.devices.profile import DeviceProfile, device_profile
from tinytrain_core.fewshot.share import EVEN, UserShare
from tinytrain_core.fewshot.sources import expanded_path, is_file
from tinytrain_core.fewshot.users import check_users
from tinytrain_core.seeds import Draw, generator

NODES = "nodes"
STORES = "stores"
POOL = "backbones"  # in it, the backbones that all stores share
MICROCONTROLLER = "mcu"


def class_counts(devices: int, mix: Mapping[str, float]) -> dict[str, int]:
    """Devices of each class by largest remainder; they add up to `devices`."""
    total = sum(mix.values())
    exact = {name: devices * weight / total for name, weight in mix.items()}
    counts = {name: int(share) for name, share in exact.items()}
    order = sorted(mix, key=lambda name: (counts[name] - exact[name], name))
    for name in order[: devices - sum(counts.values())]:
        counts[name] += 1
    return {name: count for name, count in counts.items() if count}


def device_classes(settings: FleetSettings) -> list[str]:
    """The class of each user's device, in the order of the users; who has which follows from the seed."""
    counts = class_counts(settings.devices, settings.mix)
    names = [name for name in sorted(counts) for _ in range(counts[name])]
    order = generator(settings.seed, Draw.DEVICE_CLASSES).permutation(len(names))
    return [names[index] for index in order]


def _data(settings: FleetSettings) -> str:
    """The data's name as a node in another folder understands it."""
    return str(expanded_path(settings.data).resolve()) if is_file(settings.data) else settings.data


def _differences(settings: FleetSettings, number: int, profile: DeviceProfile) -> dict[str, Any]:
    """What the device `number` has instead of what its class grants."""

    def own(sigma: float, figure: Figure) -> float:
        return factor(number, sigma, settings.seed, Draw.DEVICE_FIGURE, figure)

    spread = settings.spread
    differences: dict[str, Any] = {}
    if spread.memory:
        differences["memory_bytes"] = int(profile.memory_bytes * own(spread.memory, Figure.MEMORY))
    if spread.compute:
        differences["compute_share"] = min(profile.compute_share * own(spread.compute, Figure.COMPUTE), 1.0)
    return differences


def _hosted(classes: Sequence[str], gateway_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The users of each node: microcontrollers share gateways, every other device is a node of its own.

    Nodes are in the order of their last users; a gateway that is not full is the last one.

    Returns:
        The users in the order of the nodes (users,), and where each node's begin (nodes + 1,).
    """
    shared = np.array([device_profile(name).family == MICROCONTROLLER for name in classes])
    users = np.arange(len(classes))
    node = users.copy()  # a node is named by its last user
    gateway = np.arange(shared.sum()) // gateway_size
    last = np.minimum((gateway + 1) * gateway_size - 1, shared.sum() - 1)
    node[shared] = users[shared][last]
    if shared.sum() % gateway_size:
        node[users[shared][gateway == gateway[-1]]] = len(classes)
    order = np.lexsort((users, node))
    starts = np.flatnonzero(np.diff(node[order], prepend=-1))
    return order, np.append(starts, len(classes))


class Population(Sequence[NodeConfig]):
    """The nodes of a fleet in the order of their partition ids, each made when it is asked for: nothing is held."""

    def __init__(self, settings: FleetSettings, out: Path) -> None:
        self._settings = settings
        self._stores = out.resolve() / STORES
        self._data = _data(settings)
        self._classes = device_classes(settings)
        self._users, self._starts = _hosted(self._classes, settings.gateway_size)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> NodeConfig: ...

    @overload
    def __getitem__(self, index: slice) -> list[NodeConfig]: ...

    def __getitem__(self, index: int | slice) -> NodeConfig | list[NodeConfig]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        partition = range(len(self))[index]
        users = self._users[self._starts[partition] : self._starts[partition + 1]].tolist()
        devices = tuple(self._device(user) for user in users)
        return NodeConfig(
            store=self._stores / str(partition), pool=self._stores / POOL, simulated=True, devices=devices
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Population) and list(self) == list(other)

    def _device(self, user: int) -> DeviceConfig:
        """The device of a user. Users count from 0, devices from 1."""
        settings, profile = self._settings, self._classes[user]
        return DeviceConfig(
            number=user + 1,
            profile=profile,
            data=self._data,
            user=user_share(settings, user),
            shots=settings.shots,
            holdout=settings.holdout,
            **_differences(settings, user + 1, device_profile(profile)),
        )


def user_share(settings: FleetSettings, number: int) -> UserShare:
    """What the user `number` has of the data."""
    sharing = {"sharing": settings.share} if settings.share is not EVEN else {}
    return UserShare(
        number=number,
        users=settings.devices,
        seed=settings.seed,
        min_ways=settings.min_ways,
        max_ways=settings.max_ways,
        **sharing,
    )


def check_data(settings: FleetSettings) -> None:
    """Make sure that every user of the fleet gets a task, and all files are there, before anything is started.

    Raises:
        ConfigurationError: there is no such folder, file or glyph split; or the trace of availability is wrong.
        DataError: no images, too few classes, or too few images for so many users.
        UnsafeArchiveError: a path in the zip escapes.
    """
    check_users(_data(settings), user_share(settings, 0))
    presence(settings.availability, settings.seed, len(Population(settings, Path())))


def node_configs(settings: FleetSettings, out: Path) -> Population:
    """The configuration of each node, in the order of their partition ids; nothing is written."""
    return Population(settings, out)


def write_nodes(nodes: Sequence[NodeConfig], out: Path) -> None:
    """Write `out/nodes/<partition-id>.yaml` for each node, in place of any that were there."""
    folder = out / NODES
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for partition, node in enumerate(nodes):
        raw = node.model_dump(mode="json", exclude_unset=True)
        (folder / f"{partition}.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
