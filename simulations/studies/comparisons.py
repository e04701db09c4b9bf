"""What a study holds against what."""

from collections.abc import Mapping
from dataclasses import dataclass

from simulations.studies.arms import Arm


@dataclass(frozen=True)
class Comparison:
    """Arms that are held against one of them on the same tasks.

    Attributes:
        arms: what the table calls them -> the arm.
        reference: the name of the one that the others are held against; it may be that of none.
        others: more such names, one after the other.
        printed: whether the paper's Table 1 is of the same comparison.
        question: of an ablation, that it answers.
        note: what has to be said of it.
        family: of comparisons of the same names at several sizes of the memory; empty where it is alone.
    """

    name: str
    title: str
    arms: Mapping[str, Arm]
    reference: str
    family: str = ""
    others: tuple[str, ...] = ()
    printed: bool = False
    question: str = ""
    note: str = ""
