"""The options that `tinytrain-sim`'s commands on fleets share."""

from pathlib import Path
from typing import Annotated

import typer

from simulations.overrides import is_section
from simulations.settings import SHIPPED, FleetSettings
from tinytrain_core.console import Format
from tinytrain_core.selection.methods import METHODS

CONFIG_HELP = (
    "A YAML file of settings, or the name of one that comes with the program: "
    f"{', '.join(SHIPPED)}. The demo's apply where it is silent."
)
SECTIONS = tuple(name for name in FleetSettings.model_fields if is_section(FleetSettings, name) and name != "mix")
OTHERS = tuple(name for name in FleetSettings.model_fields if name not in SECTIONS)

Out = Annotated[Path, typer.Option(help="Where the results go; another run in it is replaced.")]
Style = Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")]
Config = Annotated[Path | None, typer.Argument(help=CONFIG_HELP)]
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
Workers = Annotated[
    int | None,
    typer.Option(
        help="Processes that simulate, one for each core by default, and always so with --ray-address; they never "
        "change a report."
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="workers: processes of this machine; ray: a Ray cluster; flower: Flower's own. It changes no report."
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Of a Ray cluster that is running, with --engine ray; all its machines see the same code, data and --out "
        "at the same paths. (default: one of this machine)"
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume/--fresh", help="Go on with the same run where it was cut short, or begin anew.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--override",
        metavar="KEY=VALUE",
        help=f"Any other setting, again and again: {', '.join(OTHERS)}. The value is YAML, as "
        f"-o 'mix={{stm32h743: 2, pi_4: 1}}'. Within the sections {', '.join(SECTIONS)} by path, as -o share.alpha=0.3 "
        "-o faults.drop_out=0.1; a wrong path lists the right ones.",
    ),
]
