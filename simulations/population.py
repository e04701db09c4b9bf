"""Who the devices of a simulated fleet are: each one's class, its user and the node that hosts it.

A pure function of the settings. What it writes is one node file each, in the very format that an operator
writes for a real node, so that simulated and real nodes differ in nothing but who wrote the file.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from simulations.settings import FleetSettings
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.fewshot.datasets import is_glyphs
from tinytrain_core.fewshot.users import UserShare, user_source
from tinytrain_core.seeds import generator

__all__ = ["FleetSettings", "check_data", "class_counts", "device_classes", "node_configs", "write_nodes"]

NODES = "nodes"
STORES = "stores"
MICROCONTROLLER = "mcu"
CLASS_DRAW = 0xC1A55  # names the draw of `device_classes` among those of a seed


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
    """The class of each device, by its number; which device is of which class follows from the seed."""
    counts = class_counts(settings.devices, settings.mix)
    names = [name for name in sorted(counts) for _ in range(counts[name])]
    order = generator(settings.seed, CLASS_DRAW).permutation(len(names))
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


def _device(settings: FleetSettings, number: int, profile: str) -> dict[str, Any]:
    return {
        "number": number,
        "profile": profile,
        "data": _data(settings),
        "user": _user(settings, number).model_dump(),
        "shots": settings.shots,
        "holdout": settings.holdout,
    }


def _hosted(settings: FleetSettings) -> Iterator[list[dict[str, Any]]]:
    """The devices of each node: microcontrollers share gateways, every other device is a node of its own."""
    waiting: list[dict[str, Any]] = []
    for number, profile in enumerate(device_classes(settings)):
        device = _device(settings, number, profile)
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


def node_configs(settings: FleetSettings, out: Path) -> list[dict[str, Any]]:
    """The configuration of each node, in the order of their partition ids; nothing is written."""
    stores = out.resolve() / STORES
    return [
        {"store": str(stores / str(partition)), "simulated": True, "devices": devices}
        for partition, devices in enumerate(_hosted(settings))
    ]


def write_nodes(settings: FleetSettings, out: Path) -> list[dict[str, Any]]:
    """Write `out/nodes/<partition-id>.yaml` for each node, in place of any that were there.

    Raises:
        ConfigurationError, DataError: the data cannot serve this fleet, as `check_data`.
    """
    check_data(settings)
    configs = node_configs(settings, out)
    folder = out / NODES
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for partition, config in enumerate(configs):
        (folder / f"{partition}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return configs
