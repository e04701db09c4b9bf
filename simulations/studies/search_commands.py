"""`tinytrain-sim sparse-search`: SparseUpdate's own search, on any backbone and data."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from simulations.studies import accuracy_options as options
from simulations.studies.accuracy_commands import given_flags, run
from simulations.studies.sparse_search import BLOCKS, Found, SearchSettings, search
from simulations.studies.study_folder import read_settings
from simulations.studies.study_loading import load_study
from simulations.studies.trials import read_trials
from tinytrain_core.console import Format
from tinytrain_core.selection.scheme_memory import KIB

DEFAULTS = {"rates": [0.001], "trials": 5}


def _show(out: Path, style: Format) -> None:
    settings = read_settings(out, SearchSettings, {})
    generations = search(settings, read_trials(out))
    best, console = generations[-1], Console(soft_wrap=True, highlight=False)
    if style is Format.JSON:
        console.print_json(data=_fields(best) | {"gains": [found.gain for found in generations]})
        return
    console.print(_table(generations))
    console.print(f"the method that it is: sparse_update:{best.scheme}")


def _fields(found: Found) -> dict[str, object]:
    numbers = {"gain": found.gain, "memory_bytes": found.memory_bytes, "backward_macs": found.backward_macs}
    return {"method": f"sparse_update:{found.scheme}", **numbers}


def _table(generations: list[Found]) -> Table:
    """The generations that found something better."""
    table = Table(title="Best scheme by generation; the gain is summed over parts, each measured alone")
    for column in ("generation", "summed gain, points", "KiB", "backward MMACs", "biases", "weights"):
        table.add_column(column, justify="left" if column == "weights" else "right")
    before = None
    for number, found in enumerate(generations):
        if found.gain != before:
            sizes = f"{found.memory_bytes / KIB:.1f}", f"{found.backward_macs / 1e6:.2f}"
            weights = " ".join(f"{index}x{share:g}" for index, share in found.scheme.weights.items())
            table.add_row(str(number), f"{100 * found.gain:+.1f}", *sizes, str(found.scheme.biases), weights)
        before = found.gain
    return table


def sparse_search(
    context: typer.Context,
    data: options.Data = None,
    backbones: Annotated[
        list[str] | None, typer.Option("--backbone", help="A shipped backbone, or LABEL=FILE.")
    ] = None,
    blocks: Annotated[int | None, typer.Option(help=f"The last so many blocks are searched. ({BLOCKS})")] = None,
    memory_kib: Annotated[float | None, typer.Option(help="The cap, as SparseUpdate counts its bytes. (100)")] = None,
    macs_share: Annotated[float | None, typer.Option(help="A cap on backward MACs, of FullTrain's. (1: none)")] = None,
    rates: Annotated[str | None, typer.Option(help="The learning rate of all trials. (0.001)")] = None,
    trials: Annotated[int | None, typer.Option(help="Tasks of each data set. (5)")] = None,
    steps: options.Steps = None,
    views: options.Views = None,
    seed: options.Seed = None,
    workers: options.Workers = options.CORES,
    out: options.Out = Path("runs/sparse-search"),
    report: Annotated[bool, typer.Option("--report", help="Search again in the trials that there are.")] = False,
    style: options.Style = Format.TABLE,
) -> None:
    """Search a SparseUpdate scheme: what each part contributes alone, then evolution under a memory cap.

    The trials are most of the time; each is kept as it ends, and the same command goes on. Search on data that nothing
    is tested on afterwards.

    Example: tinytrain-sim sparse-search --backbone mcunet-5fps --data glyphs:validation --memory-kib 100
    """
    if not report:
        flags = {"data": ["Glyphs=glyphs:validation"], "backbones": ["mcunet-5fps"]} | DEFAULTS
        run(load_study(SearchSettings, None, flags | given_flags(SearchSettings, context.params)), out, workers)
    _show(out, style)
