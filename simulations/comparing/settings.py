"""The settings that runs differ in, and whether they leave the devices the same."""

from collections.abc import Sequence
from typing import Any

from simulations.comparing.compared import Compared
from simulations.run_folder import WITHOUT_EFFECT

# Settings that decide who the devices are and which images they have; equal, a device is the same one in both runs.
SAME_DEVICES = ("devices", "mix", "data", "min_ways", "max_ways", "shots", "holdout", "seed", "share", "spread")
BY_CLASS = ("mix", "classes", "batteries", "thermal")  # settings whose keys are device classes


def flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Settings with the path to each as its key, as `share.alpha`; a mapping of figures by class stays whole."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        nested = isinstance(value, dict) and key not in BY_CLASS
        found |= flat(value, f"{before}{key}.") if nested else {before + key: value}
    return found


def differing_settings(compared: Sequence[Compared]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs, with each run's value; methods and baselines among them."""
    all_settings = [
        flat({k: v for k, v in one.run.settings.model_dump(mode="json").items() if k not in WITHOUT_EFFECT})
        | flat({"federated": one.run.federated or {}})
        | {"backbone": one.run.server.backbone_digest[:16]}
        for one in compared
    ]
    keys = dict.fromkeys(key for settings in all_settings for key in settings)
    values = {key: [settings.get(key) for settings in all_settings] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def why_unpaired(first: Compared, other: Compared) -> list[str]:
    """The settings that make the devices of two runs different ones, as `seed: 0 and 1`; empty where there are none."""
    differing = differing_settings([first, other])
    return [
        f"{key}: {value_text(values[0])} and {value_text(values[1])}"
        for key, values in differing.items()
        if key.partition(".")[0] in SAME_DEVICES
    ]


def value_text(value: Any) -> str:
    """A setting's value as text."""
    return "none" if value is None else str(value)
