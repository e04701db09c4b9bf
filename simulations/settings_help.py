"""`tinytrain-sim settings`: every setting of a fleet with its default and what it means, out of the code itself."""

import inspect
import re
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from simulations.settings import FleetSettings, build_settings
from simulations.world.settings import Availability, Battery, Faults, Link, Links, Power, Spread, Thermal
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.share import Sharing

SECTIONS: dict[str, type[BaseModel]] = {
    "fleet": FleetSettings,
    "share": Sharing,
    "spread": Spread,
    "availability": Availability,
    "links": Links,
    "links.classes.NAME": Link,
    "power": Power,
    "power.batteries.NAME": Battery,
    "power.thermal.NAME": Thermal,
    "faults": Faults,
}
ENTRY = re.compile(r"^    (?P<names>\w+(?:, \w+)*): (?P<text>.*)$")


def explained(model: type[BaseModel]) -> dict[str, str]:
    """What the docstring of a model says of its fields, by their names; names that it explains together stay so."""
    lines = inspect.getdoc(model) or ""
    found: dict[str, str] = {}
    for line in lines.partition("Attributes:\n")[2].splitlines():
        if entry := ENTRY.match(line):
            found[entry["names"]] = entry["text"]
        elif found and line.strip():
            last = next(reversed(found))
            found[last] += f" {line.strip()}"
    return found


def _default(model: type[BaseModel], name: str) -> str:
    value: Any = getattr(build_settings({}), name, None) if model is FleetSettings else None
    if value is None:
        value = model.model_fields[name].get_default(call_default_factory=True)
    if model.model_fields[name].is_required() and model is not FleetSettings:
        return "required"
    if isinstance(value, BaseModel | dict):
        return "" if isinstance(value, BaseModel) or not value else "by class"
    return str(value)


def rows(section: str) -> Iterator[tuple[str, str, str]]:
    """The settings of a section: path, default, meaning."""
    model = SECTIONS[section]
    prefix = "" if section == "fleet" else f"{section}."
    told = explained(model)
    known = {name for names in told for name in names.split(", ")}
    for names, text in (told | {name: "" for name in model.model_fields if name not in known}).items():
        of = [name for name in names.split(", ") if name in model.model_fields]
        yield ", ".join(prefix + name for name in of), ", ".join(_default(model, name) for name in of), text


def settings_command(
    section: Annotated[str, typer.Argument(help=f"One of {', '.join(SECTIONS)}; by default all.")] = "",
) -> None:
    """Every setting of a fleet: its default, and what it means.

    Those of YAML files and of -o KEY=VALUE. NAME stands for a device class, a family (mcu, sbc, gpu, phone) or default.

    Example: tinytrain-sim settings faults
    """
    if section and section not in SECTIONS:
        raise ConfigurationError(f"there is no section {section!r}; there are {', '.join(SECTIONS)}")
    console = Console()
    for name in [section] if section else SECTIONS:
        table = Table(title=name, title_justify="left", show_edge=False, box=None, pad_edge=False)
        for column in ("setting", "default", "meaning"):
            table.add_column(column, overflow="fold")
        for row in rows(name):
            table.add_row(*row)
        console.print(table, highlight=False, markup=False)
        console.print()
