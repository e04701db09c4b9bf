"""The options that `tinytrain-sim table1` and `tinytrain-sim ablation` share."""

from pathlib import Path
from typing import Annotated

import typer

from simulations.settings import CORES as CORES
from simulations.studies.study_loading import PROTOCOLS
from tinytrain_core.console import Format

DATA = "What is tested on: Omniglot, GTSRB, Aircraft, Flower, DTD, or LABEL=DATA: a folder, a zip, PATH:SPLIT, "

Config = Annotated[Path | None, typer.Option(help="A YAML file of settings; the flags are stronger.")]
Protocol = Annotated[str | None, typer.Option(help=f"{' or '.join(PROTOCOLS)}. (quick)")]
Data = Annotated[
    list[str] | None, typer.Option(help=DATA + "glyphs:SPLIT, torchvision:NAME:SPLIT. Repeatable. (Omniglot, GTSRB)")
]
Validation = Annotated[
    list[str] | None,
    typer.Option(
        help="What learning rates are chosen on, as --data: never for the set of the same label, nor what that is "
        "under another one. Repeatable."
    ),
]
Backbones = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone", help="LABEL=FILE of a meta-trained backbone, or a shipped one. Repeatable. (the shipped)"
    ),
]
Plain = Annotated[
    list[str] | None, typer.Option(help="LABEL=FILE of the same backbone without meta-training. Repeatable.")
]
Rates = Annotated[
    str | None, typer.Option(help="Learning rates to choose from, as 0.001,0.003; a single one needs no validation.")
]
Trials = Annotated[int | None, typer.Option(help="Tasks of each data set. (quick 20, paper 200)")]
ValidationTrials = Annotated[int | None, typer.Option(help="Tasks of each validation set. (quick 5, paper 10)")]
Ways = Annotated[int | None, typer.Option(help="Classes of a task; 0 is various ways and shots. (quick 5, paper 0)")]
Shots = Annotated[int | None, typer.Option(help="Images of a class to learn from, where there are --ways. (5)")]
Queries = Annotated[int | None, typer.Option(help="Images of a class to measure on, where there are --ways. (10)")]
Steps = Annotated[int | None, typer.Option(help="Steps of fine-tuning. (40)")]
Views = Annotated[int | None, typer.Option(help="Augmented views; 0 draws a fresh one in every step. (4)")]
ComputeShare = Annotated[float | None, typer.Option(help="Backward MACs to spend, of FullTrain's. (0.15)")]
MemoryMib = Annotated[float | None, typer.Option(help="Memory to spend, in the paper's ledger. (1)")]
Seed = Annotated[int | None, typer.Option(help="Draws the tasks, which are the same for every arm. (0)")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. (cpu)")]
MethodsFiles = Annotated[
    list[Path] | None, typer.Option("--methods-file", help="Python that registers methods of your own. Repeatable.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes, one thread each; they never change a trial.")]
Out = Annotated[Path, typer.Option(help="Where results go; the same command goes on there.")]
Report = Annotated[bool, typer.Option("--report", help="Make the tables and the page again; run nothing.")]
Style = Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")]
