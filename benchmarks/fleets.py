"""What simulating a fleet costs, on our engine and on Flower's own, with the very same apps.

    python -m benchmarks.fleets messages --devices 5000 --devices 10000     # no-op clients: messages a second
    python -m benchmarks.fleets personalise --devices 1000 --plain 40       # real ones, against a plain Flower client
    python -m benchmarks.fleets scale                                       # no-op clients, 100 to 100,000 devices

Every measurement is a process of its own, one after the other, so that peaks of memory are its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import fleet_pages
from benchmarks.fleet_runs import ENGINES, FLOWER, OURS, Messages, Personalised, messages_run, ours_run, plain_run
from tinytrain_core.console import run_cli

WIDTH = 130
PROGRAM = "benchmarks.fleets"
SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
errors = Console(stderr=True)
Workers = Annotated[int, typer.Option(min=1, help="Processes, on either engine.")]
Out = Annotated[Path, typer.Option(help="The folder for the figures and plots.")]


def _measured(*arguments: object) -> dict[str, Any]:
    """What a measurement in a process of its own says; its progress is passed on."""
    errors.print("measuring: " + " ".join(map(str, arguments)), highlight=False)
    command = [sys.executable, "-m", PROGRAM, "one", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        subprocess.run([*command, str(file)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        found: dict[str, Any] = json.loads(file.read_text())
    told = ", ".join(f"{name} {value}" for name, value in found.items() if not isinstance(value, list))
    errors.print(f"  {told}", highlight=False)
    return found


def _keep(out: Path, name: str, figures: Any) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / name).write_text(json.dumps(figures, indent=2) + "\n")
    errors.print(f"wrote {out / name}", highlight=False)


@app.command(hidden=True)
def one(what: str, engine: str, devices: int, workers: int, file: Path) -> None:
    """One measurement, as JSON in a file."""
    if what == "messages":
        figures: Messages | Personalised = messages_run(engine, devices, workers)
    else:
        figures = (ours_run if engine == OURS else plain_run)(devices, workers)
    file.write_text(json.dumps(asdict(figures)))


@app.command()
def messages(
    devices: Annotated[list[int] | None, typer.Option(help="Sizes of fleets, again and again.")] = None,
    workers: Workers = 2,
    out: Out = Path("runs/bench"),
) -> None:
    """No-op clients: messages a second of our engine and of Flower's, the same apps, warm.

    About 7 minutes for both sizes: Flower's engine looks through all messages for each.
    """
    sizes = devices or [5_000, 10_000]
    found = [Messages(**_measured("messages", engine, n, workers)) for n in sizes for engine in ENGINES]
    _keep(out, "fleet-messages.json", [asdict(each) for each in found])
    table = Table(title=f"No-op clients, {workers} workers: messages a second, once the workers are there")
    for column in ("devices", "engine", "messages/s", "times as fast", "round, s", "peak of the driver, MB"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    stock = {each.devices: each.per_s for each in found if each.engine == FLOWER}
    for each in found:
        times = f"{each.per_s / stock[each.devices]:.1f}"
        figures = f"{each.per_s:,.0f}", times, f"{each.seconds:.2f}", f"{each.driver_mb:,.0f}"
        table.add_row(f"{each.devices:,}", each.engine, *figures)
    Console(width=WIDTH).print(table)


@app.command()
def scale(
    devices: Annotated[list[int] | None, typer.Option(help="Sizes of fleets, again and again.")] = None,
    workers: Workers = 2,
    out: Out = Path("runs/bench"),
) -> None:
    """No-op clients on our engine, 100 to 100,000 devices: is the cost linear, and how much memory does it take?"""
    found = [Messages(**_measured("messages", OURS, n, workers)) for n in devices or SIZES]
    _keep(out, "fleet-scale.json", [asdict(each) for each in found])
    (out / "fleet-scale.svg").write_bytes(fleet_pages.draw_scale(found))
    table = Table(title=f"No-op clients on our engine, {workers} workers")
    for column in ("devices", "round, s", "µs a message", "messages/s", "peak of the driver, MB"):
        table.add_column(column, justify="right")
    for each in found:
        figures = f"{each.seconds:.3f}", f"{1e6 / each.per_s:.0f}", f"{each.per_s:,.0f}", f"{each.driver_mb:,.0f}"
        table.add_row(f"{each.devices:,}", *figures)
    Console(width=WIDTH).print(table)
    Console(width=WIDTH).print(f"seconds grow as devices^{fleet_pages.exponent(found):.2f}")


@app.command()
def personalise(
    devices: Annotated[int, typer.Option(min=2, help="On our engine.")] = 1_000,
    plain: Annotated[int, typer.Option(min=2, help="On Flower's engine, with the plain client.")] = 40,
    workers: Workers = 2,
    out: Out = Path("runs/bench"),
) -> None:
    """Real clients, MCUNet on glyphs: devices a second against a plain Flower client that trains all weights.

    Ours updates the last two blocks as its budget allows, on our engine; the plain one is on Flower's own. Same
    devices, images, steps, views, loss and optimiser. About 15 minutes.
    """
    ours = Personalised(**_measured("personalise", OURS, devices, workers))
    other = Personalised(**_measured("personalise", FLOWER, plain, workers))
    _keep(out, "fleet-personalise.json", [asdict(ours), asdict(other)])
    Console(width=WIDTH).print(fleet_pages.personalise_table(ours, other))


if __name__ == "__main__":
    run_cli(app, PROGRAM)
