"""What is said below the tables of a comparison."""

from collections.abc import Sequence

from simulations.comparing.compared import Compared
from simulations.comparing.settings import reasons_text, why_unpaired
from simulations.reporting.lead import AVERAGED

ACCURACY_NOTE = (
    "± is the 95 % interval of the mean over three or more devices (Student's t); of fewer none is shown. Worst tenth: "
    "mean gain, in points, of the tenth that gained least. Harmed: devices whose adapted backbone is less accurate "
    "than their base; Wilson's interval."
)
COST_NOTE = (
    "Time: virtual, from the sending of a request to the arrival of its report. Energy: of computing, for each device "
    "that computed, its rounds together, and of all. Down and up: bytes over the air of all devices in all rounds."
)
PAIRED_NOTE = (
    "Of {} the devices are the same, with the same images: differences are paired, device by device; p is the paired "
    "t test's, beside it that of Wilcoxon's signed-rank test."
)
PAIRS_NOTE = "Pairs with {} are the devices with a result in both: {} of {}{}."
UNLIKE_NOTE = "; {} has {} with a result, {} has {}, so others of either are left out"
AVERAGED_NOTE = "Of {} the accuracy before is that {}: compare the accuracies after, not the gains."
UNPAIRED_NOTE = (
    "Of {} the devices are not the same, because these settings differ: {}. So the difference is that of two "
    "independent groups (Welch's interval and t test), wider than that of the same devices would be."
)
HOLM_NOTE = (
    "Holm: p adjusted for all runs of the table in one quantity over the whole fleet; over classes, for all runs and "
    "classes."
)
LIES_NOTE = "Of {} nodes of {} the simulation knows that they lie; their reports count as the server has them."


def accuracy_notes(compared: Sequence[Compared]) -> list[str]:
    """What the figures are, where a run's are of something else, and who lies."""
    averaged = " and ".join(one.name for one in compared if one.run.averaged)
    liars = [LIES_NOTE.format(one.account.liars, one.name) for one in compared if one.account.liars]
    return [ACCURACY_NOTE, *([AVERAGED_NOTE.format(averaged, AVERAGED)] if averaged else []), *liars]


def difference_notes(compared: Sequence[Compared]) -> list[str]:
    """What is paired with what and why not, and what p values are adjusted for."""
    first, *others = compared
    reasons = {one.name: why_unpaired(first, one) for one in others}
    same = [name for name, why in reasons.items() if not why]
    notes = [PAIRED_NOTE.format(" and ".join([first.name, *same]))] if same else []
    notes += [_pairs_note(first, one) for one in others if one.name in same]
    return [
        *notes,
        *(UNPAIRED_NOTE.format(f"{first.name} and {n}", reasons_text(w)) for n, w in reasons.items() if w),
        HOLM_NOTE,
    ]


def _pairs_note(first: Compared, other: Compared) -> str:
    """Of which devices the differences of two runs are."""
    ours, theirs = first.by_device.keys(), other.by_device.keys()
    unlike = "" if ours == theirs else UNLIKE_NOTE.format(first.name, len(ours), other.name, len(theirs))
    return PAIRS_NOTE.format(other.name, len(ours & theirs), max(first.account.devices, other.account.devices), unlike)
