"""Peak bytes of the default plan of a 1 MiB device, predicted and measured, beside full training in plain PyTorch.

Tensors are counted by `LiveBytes`, allocations by torch's profiler (which sees scratch memory that goes through its
allocator, and autograd's saved tensors), and the whole process by the kernel's high-water mark, each in a process of
its own.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.baselines import Naive
from benchmarks.cases import SEED, SHOTS, WAYS, Case, make_case
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.personalise import personalise
from tinytrain_core.report import PersonalisationReport
from tinytrain_core.selection.cost import Budget, full_train_backward_macs

DEVICE_BYTES = 2**20
STORAGE_BYTES = 2**21
COMPUTE_SHARE = 0.15
PAPER_BATCH = 100
DEVICE = "1 MiB device"


@dataclass(frozen=True)
class Peak:
    """One arm in a process of its own.

    Attributes:
        predicted_bytes, tensor_bytes: by the ledger and by `LiveBytes`; 0 for baselines.
        allocated_bytes: by torch's allocator, above what was allocated before.
        process_bytes: growth of the resident set to its high-water mark.
    """

    backbone: str
    arm: str
    images: int
    updated_weights: int
    predicted_bytes: int
    tensor_bytes: int
    allocated_bytes: int
    process_bytes: int


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _allocated(run: profile) -> int:
    """The highest running total of allocations and frees."""
    result: Any = run.profiler
    events = [e for e in result.kineto_results.events() if e.name() == "[memory]"]
    total = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return peak


def _reset_high_water_mark() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def _device(case: Case) -> PersonalisationReport:
    """A whole personalisation within the budget of a small device; a few steps show what all of them need."""
    task, spec = case.task, case.backbone.spec
    episode = Episode(task.images, task.labels, task.images, task.labels, WAYS)
    storage = STORAGE_BYTES - 2 * spec.weights
    budget = Budget(DEVICE_BYTES, int(COMPUTE_SHARE * full_train_backward_macs(spec)), storage)
    return personalise(case.backbone, episode, budget, seed=SEED, settings=case.settings).report


def _baseline(case: Case) -> None:
    Naive(case).step(0)


def measure_here(backbone: str, arm: str, images: int) -> Peak:
    """One arm, in this process, which should do nothing else."""
    run: Callable[[Case], PersonalisationReport | None] = _device if arm == DEVICE else _baseline
    run(make_case(backbone, 3, WAYS))  # what libraries allocate once is not the arm's
    case = make_case(backbone, 3, images)
    before = _reset_high_water_mark()
    report = run(case)
    process = _resident("VmHWM") - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        run(case)
    found = (0, 0, 0)
    if report is not None:
        found = report.updated_weights, report.live_memory_bytes, report.measured_memory_bytes
    return Peak(backbone, arm, images, *found, _allocated(watched), process)


def measure(backbone: str) -> list[Peak]:
    """The device, and full training at the same support and at the paper's batch of 100."""
    arms = [(DEVICE, WAYS * SHOTS), ("naive full", WAYS * SHOTS), ("naive full", PAPER_BATCH)]
    return [_apart(backbone, arm, images) for arm, images in arms]


def _apart(backbone: str, arm: str, images: int) -> Peak:
    command = [sys.executable, "-m", "benchmarks.memory", backbone, arm, str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measure_here(sys.argv[1], sys.argv[2], int(sys.argv[3])))) + "\n")
