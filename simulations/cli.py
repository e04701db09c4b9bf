"""`tinytrain-sim`: fleets of unequal devices on one machine."""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from client.config import NODES_VARIABLE
from simulations.engine import run_fleet
from simulations.options import Config, Data, Devices, MethodName, Out, Overrides, Seed, Style, Workers
from simulations.population import NODES, class_counts
from simulations.progress import progress
from simulations.reporting.summary import summarise
from simulations.reporting.table import as_json, print_table
from simulations.run_folder import read_run, set_up, write_html
from simulations.settings import FleetSettings, load_settings, parse_overrides
from simulations.studies.accuracy_commands import ablation, table1
from simulations.studies.accuracy_options import MethodsFiles
from simulations.studies.cost_commands import figure1, table2
from simulations.studies.program import INTERRUPTED, PROGRAM
from simulations.studies.search_commands import sparse_search
from tinytrain_core.console import Format, run_cli
from tinytrain_core.devices.profile import catalogue
from tinytrain_core.flower import FLOWER_QUIET
from tinytrain_core.selection.methods import load_methods

app = typer.Typer(
    help="Simulate a fleet of unequal devices: each personalises the same backbone within its own memory and "
    "compute, on images of its own, and reports numbers only.\n\n"
    "Start with `demo`: 24 devices on built-in images, a table and a page to look at. Then `fleet` with your own "
    "images, method or mix of devices. `table1`, `table2`, `figure1` and `ablation` make the paper's tables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _given(**flags: Any) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _command() -> str:
    """What was typed, as somebody else would type it."""
    return shlex.join([PROGRAM, *sys.argv[1:]])


def _consoles(style: Format) -> tuple[Console, Console]:
    """Where results go, and where all talk goes; with JSON the result is alone on the standard output."""
    console = Console()
    return console, Console(stderr=True) if style is Format.JSON else console


def _show(out: Path, style: Format, console: Console, talk: Console) -> None:
    """Make the page of the run in `out` and print its figures."""
    run = read_run(out)
    summary = summarise(run.reports)
    page = write_html(out, run)
    if style is Format.JSON:
        console.out(as_json(summary, {"missing_nodes": run.missing, "report": str(page)}), highlight=False)
        return
    talk.print()
    print_table(summary, console)
    for cause, count in {**summary.errors, **run.missing}.items():
        talk.print(f"without a result: {count} ({cause.replace('_', ' ')})", style="red", highlight=False)
    talk.print(f"\nThe report: {page.resolve()}", highlight=False, soft_wrap=True)


def _describe(settings: FleetSettings) -> str:
    counts = class_counts(settings.devices, settings.mix)
    fleet = ", ".join(f"{counts[name]} {name}" for name in catalogue() if name in counts)
    return f"{settings.devices} devices ({fleet}); data {settings.data}; method {settings.method}; seed {settings.seed}"


def _run(settings: FleetSettings, out: Path, style: Format) -> None:
    console, talk = _consoles(style)
    talk.print(_describe(settings), highlight=False, soft_wrap=True)
    start_s = time.monotonic()
    try:
        with progress(talk, settings.devices * settings.rounds) as on_reports:
            run_fleet(settings, out, on_reports, _command())
    except KeyboardInterrupt:
        Console(stderr=True).print(f"{PROGRAM}: interrupted", style="red")
        os._exit(INTERRUPTED)  # the server's thread, which cannot be told, would wait for its nodes' deadline
    talk.print(f"simulated in {time.monotonic() - start_s:.0f} s on {settings.workers} workers", highlight=False)
    _show(out, style, console, talk)


@app.command()
def demo(
    out: Out = Path("demo"),
    seed: Seed = None,
    workers: Workers = None,
    override: Overrides = None,
    style: Style = Format.TABLE,
) -> None:
    """24 devices of seven classes, each a writer of characters of scripts that the backbone never saw.

    Needs nothing: images and backbone are built in. Ends with a table and a page to look at.

    Example: tinytrain-sim demo
    """
    flags = _given(seed=seed, workers=workers)
    _run(load_settings(None, flags | parse_overrides(override or [])), out, style)


@app.command()
def fleet(
    config: Config = None,
    data: Data = None,
    devices: Devices = None,
    method: MethodName = None,
    seed: Seed = None,
    workers: Workers = None,
    methods_files: MethodsFiles = None,
    out: Out = Path("runs/fleet"),
    override: Overrides = None,
    style: Style = Format.TABLE,
) -> None:
    """A fleet of your own: your images, your mix of devices, another method.

    Settings come from the demo, then CONFIG (a YAML file, one setting a line), then the flags, then -o, the later
    stronger.

    Example: tinytrain-sim fleet --data omniglot.zip --devices 12 -o steps=20
    """
    for file in methods_files or []:
        load_methods(file)
    flags = _given(data=data, devices=devices, method=method, seed=seed, workers=workers)
    _run(load_settings(config, flags | parse_overrides(override or [])), out, style)


@app.command()
def population(
    config: Config = None,
    data: Data = None,
    devices: Devices = None,
    seed: Seed = None,
    out: Out = Path("runs/population"),
    override: Overrides = None,
    style: Style = Format.TABLE,
) -> None:
    """Write the nodes of a fleet and run nothing, to use them with Flower's own `flwr run`.

    Example: tinytrain-sim population --devices 8 --out runs/population
    """
    settings = load_settings(config, _given(data=data, devices=devices, seed=seed) | parse_overrides(override or []))
    nodes = set_up(out, settings, _command())
    console, talk = _consoles(style)
    folder = (out / NODES).resolve()
    if style is Format.JSON:
        console.print_json(
            data={"folder": str(folder), "nodes": [n.model_dump(mode="json", exclude_unset=True) for n in nodes]}
        )
        return
    talk.print(_describe(settings), highlight=False, soft_wrap=True)
    talk.print(f"{len(nodes)} nodes are in {folder}", highlight=False, soft_wrap=True)
    variables = " ".join(f"{name}={value}" for name, value in (FLOWER_QUIET | {NODES_VARIABLE: str(folder)}).items())
    usage = f'{variables} flwr run . local --federation-config "num-supernodes={len(nodes)}" --stream'
    talk.print(f"run them with: {usage}", highlight=False, soft_wrap=True, markup=False)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The --out folder of a run.")] = Path("demo"),
    style: Style = Format.TABLE,
) -> None:
    """Make the table and the page of a run again.

    Example: tinytrain-sim report demo
    """
    _show(folder, style, *_consoles(style))


for study in (table1, table2, figure1, ablation, sparse_search):
    app.command()(study)


def main() -> None:
    """The program: one clear message and the error's exit code when something is wrong."""
    torch.set_num_threads(1)
    run_cli(app, PROGRAM)
