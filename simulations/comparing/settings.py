"""The settings that runs differ in, and whether they leave the devices the same."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from textwrap import fill
from typing import Any

from simulations.comparing.compared import Compared
from simulations.federated.methods import FEDERATED_METHODS
from simulations.finished_run import Run
from simulations.run_folder import WITHOUT_EFFECT

# Settings that decide who the devices are and which images they have; equal, a device is the same one in both runs.
SAME_DEVICES = ("devices", "mix", "data", "min_ways", "max_ways", "shots", "holdout", "seed", "share", "spread")
OF_FEDERATION = ("rounds", "fraction", "local_steps", "learning_rate", "personal_blocks")  # without one, of no effect
LETTERS = 40  # of a value's line


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings with the path to each as its key, as `links.classes.phone.loss`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def _federated(run: Run) -> dict[str, Any]:
    """What a baseline was asked for, without what its method makes no use of."""
    kind = FEDERATED_METHODS.get(run.baseline)
    unused = OF_FEDERATION if kind is not None and not kind.federates else ()
    return {key: value for key, value in (run.federated or {}).items() if key not in unused}


def differing_settings(compared: Sequence[Compared]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs, with each run's value, sections last."""
    all_settings = [
        flat({"federated": _federated(one.run)})
        | flat({k: v for k, v in one.run.settings.model_dump(mode="json").items() if k not in WITHOUT_EFFECT})
        | {"backbone": one.run.server.backbone_digest[:16]}
        for one in compared
    ]
    there = dict.fromkeys(key for settings in all_settings for key in settings)
    keys = sorted(there, key=lambda key: (key.count("."), not key.startswith("federated.")))
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


def reasons_text(reasons: Sequence[str]) -> str:
    """Reasons of `why_unpaired` in a few words: of a section that differs in several settings, how many."""
    sections = {root: list(found) for root, found in groupby(reasons, lambda reason: re.split(r"[.:]", reason)[0])}
    texts = (found[0] if len(found) == 1 else f"{root} ({len(found)} settings)" for root, found in sections.items())
    return "; ".join(texts)


def value_text(value: Any) -> str:
    """A setting's value as text, of several lines where it is long."""
    return "none" if value is None else fill(str(value), LETTERS) or "empty"
