"""`python -m benchmarks`: the commands, and the environment that all arms share."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks import accuracy, memory, pages, speed
from benchmarks.cases import make_case
from tinytrain_core.backbones.spec import backbone_names
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.console import run_cli
from tinytrain_core.engine.settings import STEPS, TrainingSettings

TIMED = ("mbv2-w0.35", "mcunet-5fps")
# Fair to all arms: one thread, and no memory given back to the kernel and fetched again in every step, which costs
# plain PyTorch up to 1.6 times its time.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
}
WIDTH = 130
app = typer.Typer(no_args_is_help=False, rich_markup_mode=None, pretty_exceptions_enable=False)
errors = Console(stderr=True)
Out = Annotated[Path, typer.Option(help="The folder for bench.json and the plots.")]


def _fair() -> None:
    """Start again in the environment of all arms, which only a new process takes on."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], os.environ | ENVIRONMENT)
    torch.set_num_threads(1)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What tells how far a command is: one line that changes in a terminal, lines elsewhere."""
    with errors.status("starting") as status:
        yield lambda text: status.update(text) if errors.is_terminal else errors.print(text, highlight=False)


@app.callback(invoke_without_command=True)
def everything(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(min=1, help="How often all arms take turns.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Of each fine-tuning.")] = STEPS,
    out: Out = Path("runs/bench"),
) -> None:
    """Time and memory of the engine against plain PyTorch: every ratio, as tables, JSON and plots.

    About 15 minutes of one quiet core.
    """
    if context.invoked_subcommand is not None:
        return
    _fair()
    out.mkdir(parents=True, exist_ok=True)
    ratios, wholes = [], []
    with _progress() as tell:
        for name in TIMED:
            found = speed.measure(make_case(name, steps), rounds, tell)
            ratios += found[0]
            wholes += found[1]
        peaks = []
        for name in backbone_names():
            tell(f"{name}: memory")
            peaks += memory.measure(name)
    result = {"rounds": rounds, "steps": steps, "torch": torch.__version__}
    result |= {"ratios": [asdict(r) for r in ratios], "wholes": [asdict(w) for w in wholes]}
    result |= {"peaks": [asdict(p) for p in peaks]}
    (out / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
    pages.print_speed(Console(width=WIDTH), ratios, wholes)
    pages.print_memory(Console(width=WIDTH), peaks)
    (out / "speed.svg").write_bytes(pages.draw_speed(ratios))
    errors.print(f"wrote {out / 'bench.json'} and {out / 'speed.svg'}", highlight=False)


@app.command(name="accuracy")
def accuracy_command(
    vary: Annotated[str, typer.Argument(help="views=0,1,2,4,8 for instance; the first value is compared with.")],
    data: Annotated[str, typer.Option(help="A source of validation tasks.")] = "glyphs:validation",
    backbone: Annotated[str, typer.Option(help="A backbone's file, or a shipped one by name.")] = "",
    device: Annotated[str, typer.Option(help="The device class whose budget is held.")] = "pi_4",
    tasks: Annotated[int, typer.Option(min=2)] = 40,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    learning_rate: Annotated[float, typer.Option(min=1e-9)] = TrainingSettings().learning_rate,
    out: Out = Path("runs/bench"),
) -> None:
    """What a setting of the engine does to accuracy, on validation tasks: choose defaults by this."""
    _fair()
    held = from_bytes(read_bytes(backbone))
    settings = accuracy.varied(TrainingSettings(learning_rate=learning_rate), vary)
    episodes = accuracy.tasks(data, tasks, held.spec.resolution, seed)
    with _progress() as tell:
        found = accuracy.effects(held, episodes, accuracy.budget_of(device, held), settings, tell)
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"accuracy-{vary.partition('=')[0]}-{device}.json"
    file.write_text(json.dumps({"data": data, "tasks": tasks, "effects": [asdict(e) for e in found]}, indent=2) + "\n")
    pages.print_effects(Console(width=WIDTH), found, data, device, tasks)


if __name__ == "__main__":
    run_cli(app, "benchmarks")
