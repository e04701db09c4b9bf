"""`tinytrain-server`: make and look at the backbones that a fleet personalises."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from server.manifest import read_manifest
from server.progress import PhaseProgress
from server.training import load_training_settings, meta_train
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import digest, from_bytes, read_bytes, shipped_path
from tinytrain_core.console import Format, run_cli

_SETTINGS = {"no_args_is_help": True, "context_settings": {"help_option_names": ["-h", "--help"]}}
app = typer.Typer(
    help="Make the backbone that a fleet personalises, and look at it.\n\n"
    "Rounds with a fleet are run by Flower: flwr run . -c \"backbone='b.safetensors' min-nodes=3\"; "
    "the keys are those of [tool.flwr.app.config] in pyproject.toml.",
    pretty_exceptions_enable=False,
    **_SETTINGS,  # type: ignore[arg-type]
)
backbone_app = typer.Typer(help="Look at a backbone's file.", **_SETTINGS)  # type: ignore[arg-type]
app.add_typer(backbone_app, name="backbone")


@app.command("meta-train")
def meta_train_command(
    config: Annotated[Path, typer.Argument(help="A YAML file; server/configs/ has those of the shipped backbones.")],
    out: Annotated[Path, typer.Option(help="The folder for checkpoints and the result.")] = Path("runs/meta-train"),
) -> None:
    """Make a backbone from random initialisation: pre-training, then episodes.

    Stopped at any time, the same command continues from the last checkpoint and ends with the same weights.

    Example: tinytrain-server meta-train server/configs/mcunet-glyphs.yaml --out runs/mcunet-glyphs
    """
    settings = load_training_settings(config)
    command = f"tinytrain-server meta-train {config} --out {out}"
    console = Console(stderr=True)
    with PhaseProgress(console) as progress:
        file = meta_train(settings, out, command, progress)
    console.print(
        f"wrote {file} and its manifest; look at it with: tinytrain-server backbone show {file}", soft_wrap=True
    )


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


@backbone_app.command()
def show(
    file: Annotated[str, typer.Argument(help="A .safetensors file; by default the shipped one.")] = "",
    style: Annotated[Format, typer.Option("--format", help="Lines for people or JSON for programs.")] = Format.TABLE,
) -> None:
    """Check a backbone's file and print what it is and how it was made.

    Example: tinytrain-server backbone show runs/mcunet-glyphs/mcunet-5fps.safetensors
    """
    data = read_bytes(file)
    facts = _facts(from_bytes(data), data)
    path = Path(file) if file else shipped_path()
    manifest = read_manifest(path.with_suffix(".json"), data)
    described = manifest.model_dump(mode="json") if manifest else None
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if style is Format.JSON:
        console.out(json.dumps(facts | {"manifest": described}, indent=2), highlight=False)
        return
    for name, value in facts.items():
        console.print(f"{name:13s} {value:,}" if isinstance(value, int) else f"{name:13s} {value}")
    if manifest is None:
        console.print(f"manifest      none at {path.with_suffix('.json')}")
        return
    accuracy = manifest.validation
    console.print(f"validation    {accuracy.mean:.1%} ± {accuracy.interval:.1%} over {accuracy.episodes} episodes")
    for name in ("made_by", "data", "data_licence"):
        console.print(f"{name:13s} {getattr(manifest, name)}")


def main() -> None:
    """Run the program; an error is one line and an exit code."""
    run_cli(app, "tinytrain-server")
