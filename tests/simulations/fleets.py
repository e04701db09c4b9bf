"""Reports and folders of images that the tests of the simulator share."""

from pathlib import Path
from typing import Any

from PIL import Image

from tinytrain_core.report import Outcome, PersonalisationReport


def make_report(device: int, profile: int, before: float, after: float, **fields: Any) -> PersonalisationReport:
    """A device that trained, of a class with 1000 bytes to spend, unless `fields` say otherwise."""
    outcome = Outcome.ADAPTED if after >= before else Outcome.KEPT_BASE
    common: dict[str, Any] = {
        "outcome": int(outcome),
        "round": 1,
        "ways": 5,
        "support_images": 25,
        "holdout_images": 50,
        "updated_weights": 100,
        "updated_channels": [1],
        "live_memory_bytes": 500,
        "memory_budget_bytes": 1000,
        "backward_macs": 10,
        "full_train_backward_macs": 100,
        "estimated_s": 2.0,
        "estimated_j": 3.0,
    }
    common |= fields
    layers = sum(channels > 0 for channels in common["updated_channels"])
    accuracies = {"accuracy_before": before, "accuracy_after": after}
    return PersonalisationReport(device=device, profile=profile, updated_layers=layers, **accuracies, **common)


def make_folder(folder: Path, images: dict[str, int]) -> Path:
    """A folder of class folders with that many small images each."""
    folder.mkdir(parents=True)
    for name, count in images.items():
        (folder / name).mkdir()
        for index in range(count):
            Image.new("RGB", (16, 16), (index, len(name), 7)).save(folder / name / f"image{index}x.png")
    return folder
