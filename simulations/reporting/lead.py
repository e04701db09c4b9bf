"""What the first lines of a run's page say that its devices did, and what left them."""

ADAPTED = {
    "tinytrain": "chose from its own memory and compute which layers and channels to update, and fine-tuned those on "
    "its own few labelled images",
    "none": "used it as it is, with prototypes of its own few labelled images",
}
NUMBERS = "Nothing but numbers left a device."
WEIGHTS = "Weights of devices went to the server, which averaged them; no image left a device."


AVERAGED = "of the averaged model on each device, before it is fine-tuned there"
BASE, AVERAGED_BASE = "base backbone", "averaged backbone"


def left_text(federates: bool) -> str:
    """What left the devices."""
    return WEIGHTS if federates else NUMBERS


def lead_text(backbone: str, method: str, baseline: str = "") -> str:
    """What every device did.

    Args:
        backbone: its title.
        method: that devices adapted with, with its options if it has any.
        baseline: the title of a federated baseline; empty for any other run.
    """
    if baseline:
        return f"Every device took part in a baseline, {baseline}, with the architecture of {backbone}."
    name = method.partition(":")[0]
    how = ADAPTED.get(name, f"adapted it by {method} on its own few labelled images")
    return f"Every device took the same backbone, {backbone}, and {how}."
