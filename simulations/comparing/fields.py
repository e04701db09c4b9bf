"""A comparison as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from simulations.comparing.compared import Compared
from simulations.comparing.differences import Difference
from simulations.comparing.settings import differing_settings, why_unpaired
from simulations.reporting.account import as_fields


def comparison_fields(compared: Sequence[Compared], found: Sequence[Difference]) -> dict[str, Any]:
    """The figures of each run, the differences to the first, and the settings that differ, for programs."""
    first, *others = compared
    return {
        "runs": [_run_fields(one) for one in compared],
        "reference": first.name,
        "unpaired": {one.name: why for one in others if (why := why_unpaired(first, one))},
        "differences": [asdict(difference) for difference in found],
        "settings": {key: list(values) for key, values in differing_settings(compared).items()},
    }


def _run_fields(one: Compared) -> Mapping[str, Any]:
    summary = asdict(one.account.summary)
    return {"name": one.name, "folder": str(one.folder), "method": one.method} | summary | as_fields(one.account)
