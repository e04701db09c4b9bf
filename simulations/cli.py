"""`tinytrain-sim`: fleets of unequal devices on one machine."""

import os
import time
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console

from client.config import NODES_VARIABLE
from simulations.comparing.commands import compare, consoles, report, show_run
from simulations.engine import run_fleet
from simulations.federated.commands import federated
from simulations.flower_engine import ENGINE as FLOWER
from simulations.options import (
    Config,
    Data,
    Devices,
    Engine,
    MethodName,
    Out,
    Overrides,
    RayAddress,
    Resume,
    Seed,
    Style,
    Workers,
)
from simulations.population import NODES, class_counts
from simulations.progress import progress
from simulations.rehearsal.commands import rehearse_command
from simulations.run_folder import Former, former, set_up
from simulations.settings import FleetSettings, load_settings, parse_overrides
from simulations.settings_help import settings_command
from simulations.studies.accuracy_commands import ablation, table1
from simulations.studies.accuracy_options import MethodsFiles
from simulations.studies.cost_commands import figure1, table2
from simulations.studies.program import INTERRUPTED, PROGRAM, typed_command
from simulations.studies.search_commands import sparse_search
from tinytrain_core.console import Format, run_cli
from tinytrain_core.devices.profile import catalogue
from tinytrain_core.flower import FLOWER_QUIET
from tinytrain_core.selection.methods import load_methods

app = typer.Typer(
    help="Simulate a fleet of unequal devices: each personalises the same backbone within its own memory and "
    "compute, on images of its own, and reports numbers only.\n\n"
    "Start with `demo`: 24 devices on built-in images, a table and a page to look at. Then `fleet` with your own "
    "images, method, devices and world; `federated` has the baselines, `compare` puts runs side by side, and "
    "`rehearse` shows what a rollout would do. `table1`, `table2`, `figure1` and `ablation` make the paper's tables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _given(**flags: Any) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _describe(settings: FleetSettings) -> str:
    counts = class_counts(settings.devices, settings.mix)
    fleet = ", ".join(f"{counts[name]} {name}" for name in catalogue() if name in counts)
    return f"{settings.devices} devices ({fleet}); data {settings.data}; method {settings.method}; seed {settings.seed}"


def _goes_on(settings: FleetSettings) -> str:
    """What comes of a run that was interrupted."""
    if settings.engine == FLOWER:
        return f"engine {FLOWER} keeps nothing of it, and the same command begins anew"
    return "the same command goes on where it was, or anew with --fresh"


def _where(settings: FleetSettings) -> str:
    """Who simulated."""
    if settings.engine == "ray" and settings.ray_address:
        return f"the Ray cluster at {settings.ray_address}"
    return f"{settings.workers} worker{'s' * (settings.workers > 1)}"


FOUND = {
    Former.OTHER: "{out} holds another run, which is replaced",
    Former.CUT_SHORT: "{out} holds this run, cut short: it goes on where it was (--fresh begins anew)",
    Former.FINISHED: "{out} holds this run already, finished (--fresh computes it again)",
}


def _run(settings: FleetSettings, out: Path, style: Format, resume: bool) -> None:
    console, talk = consoles(style)
    talk.print(_describe(settings), highlight=False, soft_wrap=True)
    found = former(out, settings) if resume else Former.NONE
    if found in FOUND:
        talk.print(FOUND[found].format(out=out), highlight=False, soft_wrap=True, markup=False)
    if found is not Former.FINISHED:
        _simulate(settings, out, talk, resume)
    show_run(out, style, console, talk)


def _simulate(settings: FleetSettings, out: Path, talk: Console, resume: bool) -> None:
    start_s = time.monotonic()
    try:
        with progress(talk, settings.devices * settings.rounds) as on_reports:
            run_fleet(settings, out, on_reports, typed_command(), resume)
    except KeyboardInterrupt:
        Console(stderr=True).print(f"{PROGRAM}: interrupted; {_goes_on(settings)}", style="red")
        if settings.engine == FLOWER:
            os._exit(INTERRUPTED)  # the server's thread, which cannot be told, would wait for its nodes' deadline
        raise typer.Exit(INTERRUPTED) from None
    talk.print(f"simulated in {time.monotonic() - start_s:.0f} s on {_where(settings)}", highlight=False)


@app.command()
def demo(
    out: Out = Path("demo"),
    seed: Seed = None,
    workers: Workers = None,
    resume: Resume = True,
    override: Overrides = None,
    style: Style = Format.TABLE,
) -> None:
    """24 devices of seven classes, each a writer of characters of scripts that the backbone never saw.

    Needs nothing: images and backbone are built in. Ends with a table and a page to look at.

    Example: tinytrain-sim demo
    """
    flags = _given(seed=seed, workers=workers)
    _run(load_settings(None, flags | parse_overrides(override or [])), out, style, resume)


@app.command()
def fleet(
    config: Config = None,
    data: Data = None,
    devices: Devices = None,
    method: MethodName = None,
    seed: Seed = None,
    workers: Workers = None,
    engine: Engine = None,
    ray_address: RayAddress = None,
    methods_files: MethodsFiles = None,
    resume: Resume = True,
    out: Out = Path("runs/fleet"),
    override: Overrides = None,
    style: Style = Format.TABLE,
) -> None:
    """A fleet of your own: your images, your mix of devices, their links, batteries and faults, another method.

    Settings come from the demo, then CONFIG (a YAML file, or `city`, a worked example of every setting), then the
    flags, then -o, the later stronger. Seconds are virtual: a fleet's night takes as long as its computing does.

    Example: tinytrain-sim fleet --data omniglot.zip --devices 12 -o steps=20
    Example: tinytrain-sim fleet city --devices 100 -o faults.drop_out=0.1 --out runs/city
    """
    for file in methods_files or []:
        load_methods(file)
    flags = _given(data=data, devices=devices, method=method, seed=seed, workers=workers)
    flags |= _given(engine=engine, ray_address=ray_address)
    _run(load_settings(config, flags | parse_overrides(override or [])), out, style, resume)


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
    nodes = set_up(out, settings, typed_command())
    console, talk = consoles(style)
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


app.command(name="rehearse")(rehearse_command)
app.command(name="settings")(settings_command)
for command in (report, compare, federated, table1, table2, figure1, ablation, sparse_search):
    app.command()(command)


def main() -> None:
    """The program: one clear message and the error's exit code when something is wrong."""
    torch.set_num_threads(1)
    run_cli(app, PROGRAM)
