"""The options that `tinytrain-sim`'s commands on fleets share."""

from pathlib import Path
from typing import Annotated

import typer

from simulations.settings import FleetSettings
from tinytrain_core.console import Format
from tinytrain_core.selection.methods import METHODS

Out = Annotated[Path, typer.Option(help="Where the results go; a former run in it is replaced.")]
Style = Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")]
Config = Annotated[Path | None, typer.Argument(help="A YAML file of settings; the demo's apply where it is silent.")]
Devices = Annotated[int | None, typer.Option(help="How many devices. (demo: 24)")]
Data = Annotated[
    str | None,
    typer.Option(help="A folder of class folders, a .zip of one, or glyphs or glyphs:SPLIT. (demo: glyphs)"),
]
MethodName = Annotated[
    str | None,
    typer.Option(
        "--method", help=f"One of {', '.join(METHODS)}, with options as tinytrain:ratio=0.25. (demo: tinytrain)"
    ),
]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same reports. (demo: 0)")]
Workers = Annotated[int | None, typer.Option(help="Processes that simulate; they never change a report. (demo: 2)")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--override",
        metavar="KEY=VALUE",
        help=f"Any other setting, again and again: {', '.join(FleetSettings.model_fields)}. The value is YAML, "
        "as -o 'mix={stm32h743: 2, pi_4: 1}'.",
    ),
]
