"""The node configuration that `tinytrain-client init` and `enrol` write, with every key explained."""

import json
from collections.abc import Iterable

_HEAD = """\
# A node of a TinyTrain fleet. Relative paths are relative to the folder of this file.

# Where backbones and deltas are kept. It never leaves this machine.
store: {store}

# One entry for each device. A computer hosts itself; the gateway of microcontrollers hosts several.
devices:
"""
_DEVICE = """\
  - number: {number} # what you call this device, from 1, unique in your fleet: the one name that its reports carry
    profile: {profile} # one of: {known}
    data: {data} # private images: CLASS/IMAGE files in a folder, or in a .zip
    shots: 5 # the most images of a class to learn from
    holdout: 10 # the most images of a class to judge the result by, never learnt from
"""
_OPTIONS = """\
    # memory_bytes: 8000000 # instead of what the profile grants
    # compute_share: 0.15 # of full training's backward MACs, instead of what the profile grants
    # storage_bytes: 500000 # for features that do not fit the memory while it personalises; 0 computes them again
"""
_FURTHER = """\
  - number: {number}
    profile: {profile}
    data: {data}
"""


def node_file(devices: Iterable[tuple[int, str, str]], store: str, known: Iterable[str]) -> str:
    """The text of a node file; JSON strings are YAML strings. The first device's keys are explained.

    Args:
        devices: number, profile and data of each.
        known: the device classes of the catalogue.
    """
    text = _HEAD.format(store=json.dumps(store))
    for position, (number, profile, data) in enumerate(devices):
        entry = _FURTHER if position else _DEVICE + _OPTIONS
        quoted = {"profile": json.dumps(profile), "data": json.dumps(data)}
        text += entry.format(number=number, known=", ".join(known), **quoted)
    return text


def node_yaml(number: int, profile: str, data: str, store: str, known: list[str]) -> str:
    """The text of a node file with one device."""
    return node_file([(number, profile, data)], store, known)
