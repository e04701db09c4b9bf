"""`tinytrain-server backbone`: import published weights, look at a backbone, compare several."""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from server.backbones.evaluation import Evaluation, EvaluationSettings, Row, evaluate, labelled_data, read_candidate
from server.backbones.evaluation_plot import draw_evaluation
from server.backbones.importing import import_backbone
from server.backbones.manifest import ImportedManifest, TrainedManifest, read_manifest
from server.backbones.model_card import model_card, read_evaluation
from server.backbones.progress import PhaseProgress
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import BACKBONE_HELP, backbone_path, digest, from_bytes, read_bytes
from tinytrain_core.console import Format
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.files import write_file
from tinytrain_core.meta_training.settings import TaskShape

app = typer.Typer(
    help="Import published weights, look at a backbone's file, compare several.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Style = Annotated[Format, typer.Option("--format", help="Lines for people or JSON for programs.")]


@app.command("import")
def import_command(
    source: Annotated[Path, typer.Argument(help="*.npz (int8), *.pt or *.safetensors (folded, or torchvision's).")],
    out: Annotated[Path, typer.Option(help="The backbone's file to write, ending in .safetensors.")],
    architecture: Annotated[str, typer.Option(help="By default the one that the tensors' shapes fit.")] = "",
    check: Annotated[str, typer.Option(help="Images, one folder per class, to measure top-1 and top-5 on.")] = "",
    licence: Annotated[str, typer.Option(help="What the weights may be used for; goes into the manifest.")] = "",
) -> None:
    """Turn published ImageNet weights into a backbone's file with a manifest.

    Example: tinytrain-server backbone import mcunet-5fps.int8.npz --out runs/imagenet/mcunet-5fps.safetensors
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    options = {"--architecture": architecture, "--check": check, "--licence": licence}
    given = "".join(f" {name} {shlex.quote(value)}" for name, value in options.items() if value)
    command = f"tinytrain-server backbone import {source} --out {out}{given}"
    with PhaseProgress(console) as progress:

        def show(done: int, total: int) -> None:
            progress("check", done, total, {})

        manifest = import_backbone(source, out, architecture, check, licence, command, show)
    console.print(f"wrote {out} ({manifest.architecture}, layout {manifest.layout}) and its manifest", markup=False)
    if manifest.top1 is not None and manifest.top5 is not None:
        console.print(f"top-1 {manifest.top1:.1%}, top-5 {manifest.top5:.1%} on {manifest.images} images of {check}")


def _facts(backbone: Backbone, data: bytes) -> dict[str, Any]:
    spec = backbone.spec
    return {
        "architecture": spec.name,
        "title": spec.title,
        "resolution": spec.resolution,
        "convolutions": len(spec.convs),
        "parameters": spec.weights + sum(conv.out_channels for conv in spec.convs),
        "forward_macs": spec.macs,
        "head_scale": backbone.head_scale,
        "bytes": len(data),
        "sha256": digest(data),
    }


def _described(manifest: TrainedManifest | ImportedManifest) -> dict[str, str]:
    """What a person wants to know of a manifest."""
    lines = {"made_by": manifest.made_by, "data_licence": manifest.data_licence}
    if isinstance(manifest, ImportedManifest):
        return lines | {"source": f"{manifest.source} (layout {manifest.layout})", "input": manifest.input_scaling}
    for name, accuracy in manifest.validation.items():
        lines[f"on {name}"] = f"{accuracy.mean:.1%} ± {accuracy.interval:.1%} over {accuracy.episodes} episodes"
    return lines | {"taken at": f"step {manifest.step} of phase {manifest.phase} ({manifest.label})"}


@app.command()
def show(
    file: Annotated[str, typer.Argument(help=BACKBONE_HELP)] = "",
    style: Style = Format.TABLE,
) -> None:
    """Check a backbone's file and print what it is and how it was made.

    Example: tinytrain-server backbone show runs/mcunet-5fps/mcunet-5fps.safetensors
    """
    data = read_bytes(file)
    facts = _facts(from_bytes(data), data)
    path = backbone_path(file)
    manifest = read_manifest(path.with_suffix(".json"), data)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if style is Format.JSON:
        described = manifest.model_dump(mode="json") if manifest else None
        console.out(json.dumps(facts | {"manifest": described}, indent=2), highlight=False)
        return
    lines = {name: f"{value:,}" if isinstance(value, int) else value for name, value in facts.items()}
    lines |= _described(manifest) if manifest else {"manifest": f"none at {path.with_suffix('.json')}"}
    for name, value in lines.items():
        console.print(f"{name:13s} {value}")


def _gain(row: Row) -> str:
    return "" if row.gain is None else f"{100 * row.gain:+.1f} ± {100 * (row.gain_interval or 0):.1f}"


def _table(evaluation: Evaluation) -> Table:
    table = Table(title=f"Frozen accuracy in %, mean ± 95 % interval, {evaluation.episodes} tasks each", box=None)
    for name in ("data", "tasks", "backbone"):
        table.add_column(name)
    for name in ("accuracy", f"against {next(iter(evaluation.backbones))}"):
        table.add_column(name, justify="right")
    for row in evaluation.rows:
        accuracy = f"{100 * row.accuracy.mean:.1f} ± {100 * row.accuracy.interval:.1f}"
        table.add_row(row.data, row.tasks, row.backbone, accuracy, _gain(row))
    return table


@app.command("evaluate")
def evaluate_command(
    backbones: Annotated[list[str], typer.Argument(help="FILE or LABEL=FILE; the others are held against the first.")],
    data: Annotated[
        list[str],
        typer.Option(help="DATA or LABEL=DATA: a folder, a zip, PATH:SPLIT, glyphs:SPLIT, torchvision:NAME."),
    ],
    out: Annotated[Path, typer.Option(help="Where evaluation.json and evaluation.svg go.")] = Path("runs/evaluation"),
    ways: Annotated[int, typer.Option(min=2, help="Classes of a task.")] = 5,
    shots: Annotated[int, typer.Option(min=1, help="Support images of a class.")] = 5,
    queries: Annotated[int, typer.Option(min=1, help="Query images of a class.")] = 10,
    various: Annotated[bool, typer.Option(help="Also tasks of various ways and shots, as Meta-Dataset's.")] = True,
    episodes: Annotated[int, typer.Option(min=2, help="Tasks of each kind.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Draws the tasks; every backbone gets the same ones.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; more than free cores slow it down.")] = 1,
    style: Style = Format.TABLE,
) -> None:
    """Compare backbones, frozen: how well the nearest prototype classifies before anything is fine-tuned.

    Example: tinytrain-server backbone evaluate before=a.safetensors after=b.safetensors --data photos.zip
    """
    torch.set_num_threads(threads)
    shape = TaskShape(ways=ways, shots=shots, queries=queries)
    settings = EvaluationSettings(labelled_data(data), shape, various, episodes, seed)
    candidates = [read_candidate(text) for text in backbones]
    with PhaseProgress(Console(stderr=True)) as progress:
        evaluation = evaluate(candidates, settings, progress)
    text = evaluation.model_dump_json(indent=2)
    write_file(out / "evaluation.json", (text + "\n").encode())
    write_file(out / "evaluation.svg", draw_evaluation(evaluation))
    console = Console(soft_wrap=True)
    console.out(text, highlight=False) if style is Format.JSON else console.print(_table(evaluation))
    Console(stderr=True, soft_wrap=True).print(f"wrote {out / 'evaluation.json'} and {out / 'evaluation.svg'}")


@app.command()
def card(
    file: Annotated[Path, typer.Argument(help="A .safetensors file that meta-train made, its manifest beside it.")],
    evaluation: Annotated[Path | None, typer.Option(help="The evaluation.json of `backbone evaluate`.")] = None,
) -> None:
    """Write a backbone's model card beside it: data, licences, steps, accuracy, intended use, limits.

    Example: tinytrain-server backbone card runs/mcunet-5fps/mcunet-5fps.safetensors
    """
    manifest = read_manifest(file.with_suffix(".json"), read_bytes(file))
    if not isinstance(manifest, TrainedManifest):
        raise ConfigurationError(f"{file.with_suffix('.json')} is not the manifest of a backbone that meta-train made")
    text = model_card(manifest, read_evaluation(evaluation) if evaluation else None)
    write_file(file.with_suffix(".md"), text.encode())
    Console(stderr=True, soft_wrap=True).print(f"wrote {file.with_suffix('.md')}")
