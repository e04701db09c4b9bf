"""Who the devices of a simulated fleet are: each one's class, its user and the node that hosts it.

A pure function of the settings. What it writes is one node file each, in the very format that an operator
writes for a real node, so that simulated and real nodes differ in nothing but who wrote the file.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from client.config import DeviceConfig, NodeConfig
from simulations.settings import FleetSettings
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.fewshot.sources import is_glyphs
from tinytrain_core.fewshot.users import UserShare, user_source
from tinytrain_core.seeds import Draw, generator

NODES = "nodes"
STORES = "stores"
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


def _user(settings: FleetSettings, number: int) -> UserShare:
    return UserShare(
        number=number,
        users=settings.devices,
        seed=settings.seed,
        min_ways=settings.min_ways,
        max_ways=settings.max_ways,
    )


def _data(settings: FleetSettings) -> str:
    """The data's name as a node in another folder understands it."""
    return settings.data if is_glyphs(settings.data) else str(Path(settings.data).expanduser().resolve())


def _device(settings: FleetSettings, user: int, profile: str) -> DeviceConfig:
    """The device of a user. Users count from 0, devices from 1."""
    return DeviceConfig(
        number=user + 1,
        profile=profile,
        data=_data(settings),
        user=_user(settings, user),
        shots=settings.shots,
        holdout=settings.holdout,
    )


def _hosted(settings: FleetSettings) -> Iterator[list[DeviceConfig]]:
    """The devices of each node: microcontrollers share gateways, every other device is a node of its own."""
    waiting: list[DeviceConfig] = []
    for user, profile in enumerate(device_classes(settings)):
        device = _device(settings, user, profile)
        if device_profile(profile).family != MICROCONTROLLER:
            yield [device]
            continue
        waiting.append(device)
        if len(waiting) == settings.gateway_size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def check_data(settings: FleetSettings) -> None:
    """Make sure that every user of the fleet gets a task, before anything is started.

    Raises:
        ConfigurationError: there is no such folder, file or glyph split.
        DataError: no images, too few classes, or too few images for so many users.
        UnsafeArchiveError: a path in the zip escapes.
    """
    for number in range(settings.devices):
        user_source(_data(settings), _user(settings, number))


def node_configs(settings: FleetSettings, out: Path) -> list[NodeConfig]:
    """The configuration of each node, in the order of their partition ids; nothing is written."""
    stores = out.resolve() / STORES
    return [
        NodeConfig(store=stores / str(partition), simulated=True, devices=tuple(devices))
        for partition, devices in enumerate(_hosted(settings))
    ]


def write_nodes(nodes: Sequence[NodeConfig], out: Path) -> None:
    """Write `out/nodes/<partition-id>.yaml` for each node, in place of any that were there."""
    folder = out / NODES
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for partition, node in enumerate(nodes):
        raw = node.model_dump(mode="json", exclude_unset=True)
        (folder / f"{partition}.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
