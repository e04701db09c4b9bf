"""The options of `tinytrain-sim federated` beside those of every fleet."""

from typing import Annotated

import typer

from simulations.federated.methods import FEDERATED_METHODS

MethodArgument = Annotated[
    str,
    typer.Argument(
        metavar="METHOD",
        help="; ".join(f"{name}: {kind.title}" for name, kind in FEDERATED_METHODS.items()) + ".",
    ),
]
Rounds = Annotated[int, typer.Option(help="Rounds of the federation. `local` takes as many steps, alone.")]
Fraction = Annotated[float, typer.Option(help="Of the nodes that can train, how many a round asks; at least one.")]
LocalSteps = Annotated[int, typer.Option(help="Steps of a device in a round.")]
FederatedRate = Annotated[
    float, typer.Option("--learning-rate", help="Of these; that of the last fine-tuning is -o learning_rate=R.")
]
PersonalBlocks = Annotated[
    int | None,
    typer.Option(help="fedper: the last blocks, which stay on the device. (default: 1, and the feature mix)"),
]
StartOption = Annotated[str | None, typer.Option("--start", help="Where weights begin: random or backbone.")]
Respect = Annotated[
    bool,
    typer.Option(
        "--respect-budgets/--ignore-budgets",
        help="A device that cannot hold the training of all weights takes no part; or suppose that every device could.",
    ),
]
Tune = Annotated[
    str | None,
    typer.Option(help="Learning rates to try on validation users, as 0.0003,0.001,0.003; the best are used."),
]
Validation = Annotated[
    str | None,
    typer.Option(help="The images of validation users, as --data. (glyphs: glyphs:validation)"),
]
TuneDevices = Annotated[int, typer.Option(help="How many validation users.")]
