"""`tinytrain-server meta-train`: make the backbone that a fleet personalises."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from server.backbones.progress import PhaseProgress
from server.backbones.scalars import Scalars
from server.backbones.training import load_training_settings, meta_train


def meta_train_command(
    config: Annotated[Path, typer.Argument(help="A YAML file; server/configs/ has those of the shipped backbones.")],
    out: Annotated[Path, typer.Option(help="For checkpoints, scalars and the result.")] = Path("runs/meta-train"),
    device: Annotated[str, typer.Option(help="cpu, cuda or auto, in place of the configuration's.")] = "",
) -> None:
    """Make a backbone: phases of supervised and episodic training, from random, published or own weights.

    Stopped at any time, the same command continues from the last checkpoint and ends with the same weights.
    With the extra `train`, tensorboard --logdir OUT/tensorboard shows its curves.

    Example: tinytrain-server meta-train server/configs/mcunet-5fps.yaml --out runs/mcunet-5fps
    """
    settings = load_training_settings(config, device)
    command = f"tinytrain-server meta-train {config} --out {out}" + (f" --device {device}" if device else "")
    console = Console(stderr=True)
    with PhaseProgress(console) as progress, Scalars(out / "tensorboard", console) as scalars:

        def show(phase: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
            progress(phase, step, steps, figures)
            scalars(phase, step, steps, figures)

        file = meta_train(settings, out, command, show)
    console.print(
        f"wrote {file} and its manifest; look at it with: tinytrain-server backbone show {file}", soft_wrap=True
    )
