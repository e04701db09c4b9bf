"""The `agent.yaml` that `tinytrain-client enrol` writes, with the keys that its owner may want to set."""

import json

_TEMPLATE = """\
# How this machine takes part in its fleet. Relative paths are relative to the folder of this file.

name: {name} # what the operator calls this node
server: {server}
ca: {ca} # the certificate that the server's has to be signed with
key: {key} # this node's private key; keep it to its owner
trust: {trust} # whose releases this node accepts
node: {node} # its devices and their private images

# What follows is up to the owner of this machine. Take the mark away from what you set.

# Local times of day between which it may personalise; without this, at any time.
# window: 22:00-06:00

# It waits while there is too little power.
# power:
#   mains_only: true
#   min_battery_percent: 50

# It waits while any thermal zone is hotter.
# temperature:
#   max_c: 70

# Reports wait here while the server is away; beyond this many the oldest give way.
# outbox:
#   max_reports: 1000

# Seconds between two looks for the server's messages, while there is something to do.
# poll_s: 3

# Hours after which it personalises again by itself, server or not; 0 is never.
# local_every_h: 24

# Orders of one release that it carries out within 24 hours.
# max_orders_per_day: 24

# Noise on the accuracies that it reports, the same for every device of this node, and how often it reports any.
# privacy:
#   noise_multiplier: 4
#   max_reports: 30
"""


def agent_yaml(name: str, server: str, node: str, ca: str, key: str, trust: str) -> str:
    """The text of a device's settings; JSON strings are YAML strings."""
    fields = {"name": name, "server": server, "node": node, "ca": ca, "key": key, "trust": trust}
    return _TEMPLATE.format(**{field: json.dumps(value) for field, value in fields.items()})
