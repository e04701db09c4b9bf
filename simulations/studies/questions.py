"""The questions that an ablation answers: one entry each, whose first arm the others are held against."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from simulations.studies.arms import TINYTRAIN, Arm, Training
from simulations.studies.comparisons import Comparison
from tinytrain_core.engine.settings import VIEWS
from tinytrain_core.selection.cost import COMPUTE_SHARE
from tinytrain_core.selection.methods.tinytrain import TinyTrain

SMALL_SCHEME = (
    "sparse_update:scheme=49kb"  # the published one nearest to 15 % of FullTrain: 16 to 22 %; all three have it
)
Arms = Mapping[str, Arm]
HEADROOMS_MIB = (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # above the forward peak, at 16 B a weight: 4096 weights to 32768


@dataclass(frozen=True)
class Question:
    """What is asked, and the arms that answer it, in groups of their own comparison.

    Attributes:
        levels: whether the groups are the same arms at several sizes of the memory.
    """

    title: str
    groups: Mapping[str, Arms]
    levels: bool = False

    def comparisons(self, name: str) -> list[Comparison]:
        """One for each group."""
        return [
            Comparison(
                " ".join(filter(None, (name, group))),
                self._title(group),
                arms,
                next(iter(arms)),
                self._of(name),
                question=name,
            )
            for group, arms in self.groups.items()
        ]

    def _title(self, group: str) -> str:
        return f"{self.title} ({group})" if group else self.title

    def _of(self, name: str) -> str:
        return name if self.levels else ""


def _alone(arms: Arms) -> dict[str, Arms]:
    return {"": arms}


def _values(option: str, *others: object) -> Arms:
    """TinyTrain as it is, and with other values of an option; 0 stands for all."""
    default = next(field.default for field in fields(TinyTrain) if field.name == option)
    return {str(default): Arm(method=TINYTRAIN)} | {
        str(value or "all"): Arm(method=f"{TINYTRAIN}:{option}={value}") for value in others if value != default
    }


def _views(*others: int) -> Arms:
    """As many as by default, and others."""
    numbers = dict.fromkeys((VIEWS, *others))
    return {f"{number} views" if number else "fresh views": Arm(method=TINYTRAIN, views=number) for number in numbers}


def _shares(*others: float) -> Arms:
    """TinyTrain with the paper's share of FullTrain's backward MACs, and with others."""
    shares = dict.fromkeys((COMPUTE_SHARE, *others))
    return {f"{share:g} of the MACs": Arm(method=TINYTRAIN, compute_share=share) for share in shares}


def _trainings(*methods: str) -> dict[str, Arms]:
    """Each method on a plain backbone and on the meta-trained one."""
    trainings = (Training.PLAIN, Training.META)
    return {method: {t.value: Arm(method=method, training=t) for t in trainings} for method in methods}


def _memories(arms: Arms) -> dict[str, Arms]:
    """The same arms under several caps."""
    return {
        f"{headroom:g} MiB of updates": {
            name: arm.model_copy(update={"headroom_mib": headroom}) for name, arm in arms.items()
        }
        for headroom in HEADROOMS_MIB
    }


def _deep() -> Arms:
    """TinyTrain, the deep variant, whole and in parts, and SparseUpdate: deeper at twice the compute, and its least."""
    deep, wide = f"{TINYTRAIN}_deep", "window_blocks=0"
    methods = {
        "tinytrain": TINYTRAIN,
        "deep": deep,
        "deep, prototypes attached": f"{deep}:prototypes=attached",
        "all blocks, detached": f"{TINYTRAIN}:{wide},prototypes=detached",
        "sparse_update": "sparse_update",
        SMALL_SCHEME: SMALL_SCHEME,
    }
    return {name: Arm(method=method) for name, method in methods.items()}


QUESTIONS = {
    "meta": Question("What is meta-training worth?", _trainings(TINYTRAIN, "full_train")),
    "channels": Question("Which channels?", _memories(_values("channels", "l2", "random")), levels=True),
    "selection": Question("Chosen for each task?", _alone(_values("selection", "static"))),
    "window": Question("How many blocks?", _alone(_values("window_blocks", 2, 4, 8, 0))),
    "ratio": Question("How many channels of a layer?", _alone(_values("ratio", 1, 0.25, 0.125))),
    "compute": Question("How much compute?", _alone(_shares(0.05, 0.1, 0.3, 1.0))),
    "views": Question("How many augmented views?", _alone(_views(0, 1, 2, 8))),
    "prototypes": Question("A gradient through the prototypes?", _alone(_values("prototypes", "detached"))),
    "depth": Question("The same budget spent on depth?", _alone(_deep())),
    "score": Question("Layers by what score?", _alone(_values("score", "no_macs", "potential"))),
}
