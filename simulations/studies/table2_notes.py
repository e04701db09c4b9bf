"""Why a figure of Table 2 is not the paper's: a line for each kind of cell that does not match to the last digit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from simulations.studies import published
from simulations.studies.arms import TINYTRAIN
from simulations.studies.table2 import SPARSE_UPDATE, Figure, Row
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.engine.execution import Execution
from tinytrain_core.engine.features import Place
from tinytrain_core.fewshot.example_tasks import SUPPORT, WAYS
from tinytrain_core.selection.cost import MIB
from tinytrain_core.selection.live_memory import training_bytes
from tinytrain_core.selection.methods.tinytl import adapted_blocks, with_branches
from tinytrain_core.selection.paper_ledger import BATCH, implied_weights
from tinytrain_core.selection.workload import Workload

MEMORY, COMPUTE = "MiB", "MMACs"
FIGURES: dict[str, Callable[[Row], Figure]] = {MEMORY: lambda r: r.memory_mib, COMPUTE: lambda r: r.backward_mmacs}
Tell = Callable[[Sequence[Row]], str]


def _implied(rows: Sequence[Row]) -> str:
    """The updated weights that the paper's memory means, backbone by backbone."""
    known = [(r.backbone, implied_weights(load_spec(r.architecture), float(r.memory_mib.paper or 0))) for r in rows]
    return ", ".join(f"{weights:,} on {backbone}" for backbone, weights in known)


def _weights(rows: Sequence[Row]) -> str:
    return ", ".join(f"{row.weights.mean:,.0f}" for row in rows)


def _batch_live_mib(architecture: str) -> float:
    """What the engine has alive in a TinyTL step of as many images as the paper charges."""
    spec = load_spec(architecture)
    extent = with_branches(spec, adapted_blocks(spec), 0).extent
    step = Execution(BATCH, False, Place.MEMORY)
    return training_bytes(Workload(spec, BATCH // 2, WAYS), extent, step) / MIB


def _tinytl_memory(rows: Sequence[Row]) -> str:
    live = ", ".join(f"{_batch_live_mib(row.architecture):.0f}" for row in rows)
    return (
        f"no sum is known that gives the paper's figure. Ours is what {BATCH} images need where only what is read "
        "again is kept: 16 B a trained value, saved inputs of what is trained, a bit for each ReLU6, the forward peak. "
        f"The engine's own step of {BATCH} images has {live} MiB alive"
    )


def _chosen(rows: Sequence[Row]) -> str:
    return (
        "what the selector chose under the paper's budget, mean and, below it, least to most over tasks. The paper's "
        f"tasks, weights and channel ratio are not public; its MiB mean {_implied(rows)}, ours are {_weights(rows)}"
    )


def _schemes(rows: Sequence[Row]) -> str:
    return (
        f"the paper had schemes that are not public: its MiB mean {_implied(rows)} updated weights, the public "
        f"schemes of about 99 kB have {_weights(rows)}"
    )


NOTES: dict[tuple[str, str], Tell] = {
    ("full_train", MEMORY): lambda _: (
        f"{BATCH} images x 4 B x inputs of all convolutions, BatchNorms and ReLU6s, and 16 B a weight; what the paper "
        "has above that is not known"
    ),
    ("last_layer", COMPUTE): lambda _: (
        "the layer has 16 positions, the paper's figure is 17 times its weights: one term more, or a misprint of 1.47"
    ),
    ("tinytl", MEMORY): _tinytl_memory,
    ("tinytl", COMPUTE): lambda _: (
        "dL/dx of all but the stem and twice the lite residuals; the paper's rule is not known"
    ),
    (SPARSE_UPDATE, MEMORY): _schemes,
    (SPARSE_UPDATE, COMPUTE): lambda _: "other schemes, as for its MiB",
    (TINYTRAIN, MEMORY): _chosen,
    (TINYTRAIN, COMPUTE): lambda _: "the selector's choice, as for its MiB",
}
COMMON = (
    "Paper's accounting: 16 B an updated weight and the forward peak of one image; FullTrain, TinyTL and AdapterDrop "
    f"for {BATCH} images. It prints nothing of AdapterDrop or of the forward pass. SparseUpdate's dL/dx ends at its "
    "earliest weights; strictly, it goes on to its earliest biases. FullTrain's goes on to the pixels, strictly not.",
    "Saved: the same accounting and as many images, with saved inputs and ReLU6 masks, BatchNorm folded.",
    f"Live: what the engine has alive at its worst moment with {SUPPORT} images of {WAYS} classes, {2 * SUPPORT} in a "
    "step, Adam, selection and judging included; frozen weights and stored images apart. One: one image at a time.",
)


@dataclass(frozen=True)
class Notes:
    """The notes that some rows need: the letter of each kind of cell, and the lines."""

    letters: dict[tuple[str, str], str]
    lines: tuple[str, ...]

    @classmethod
    def on(cls, rows: Sequence[Row]) -> "Notes":
        letters: dict[tuple[str, str], str] = {}
        lines = []
        for (method, quantity), tell in NOTES.items():
            figure = FIGURES[quantity]
            astray = [r for r in rows if r.method == method and figure(r).paper is not None and not figure(r).exact]
            if astray:
                letter = ascii_lowercase[len(letters)]
                letters[method, quantity] = letter
                lines.append(f"({letter}) {published.title(method)}, {quantity}: {tell(astray)}.")
        return cls(letters, (*lines, *COMMON))
