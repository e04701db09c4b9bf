"""The node configuration that `tinytrain-client init` writes, with every key explained."""

import json

_TEMPLATE = """\
# A node of a TinyTrain fleet. Relative paths are relative to the folder of this file.

# Where backbones and deltas are kept. It never leaves this machine.
store: {store}

# One entry for each device. A computer hosts itself; the gateway of microcontrollers hosts several.
devices:
  - number: {number} # what you call this device, from 1, unique in your fleet: the one name that its reports carry
    profile: {profile} # one of: {known}
    data: {data} # private images: CLASS/IMAGE files in a folder, or in a .zip
    shots: 5 # the most images of a class to learn from
    holdout: 10 # the most images of a class to judge the result by, never learnt from
    # memory_bytes: 8000000 # instead of what the profile grants
    # compute_share: 0.15 # of full training's backward MACs, instead of what the profile grants
    # storage_bytes: 500000 # for features that do not fit the memory while it personalises; 0 computes them again
"""


def node_yaml(number: int, profile: str, data: str, store: str, known: list[str]) -> str:
    """The text of a node file with one device; JSON strings are YAML strings."""
    quoted = {"store": json.dumps(store), "profile": json.dumps(profile), "data": json.dumps(data)}
    return _TEMPLATE.format(number=number, known=", ".join(known), **quoted)
