"""Progress of long commands: bars with an estimate of the time left in a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 15.0
LOSS_WEIGHT = 0.02  # of the latest step in the loss that is shown
VALIDATION = "validation/"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class PhaseProgress:
    """A context to be called with (phase, step, steps, figures) as the steps of named phases are done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description:10s}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, TextColumn("{task.fields[shown]}"), console=console)
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._last_line = 0.0
        self._losses: dict[str, float] = {}
        self._accuracies: dict[str, float] = {}

    def __enter__(self) -> "PhaseProgress":
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def __call__(self, phase: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
        shown = self._shown(phase, figures)
        if self._console.is_terminal:
            if phase not in self._tasks:
                self._tasks[phase] = self._bars.add_task(phase, total=steps, completed=step - 1, shown=shown)
            self._bars.update(self._tasks[phase], completed=step, shown=shown)
        else:
            self._line(phase, step, steps, shown)

    def _shown(self, phase: str, figures: Mapping[str, float]) -> str:
        """The loss, smoothed, and the latest validation accuracies."""
        if loss := figures.get("loss"):
            before = self._losses.get(phase, loss)
            self._losses[phase] = before + LOSS_WEIGHT * (loss - before)
        accuracies = {name: value for name, value in figures.items() if name.startswith(VALIDATION)}
        self._accuracies = accuracies or self._accuracies
        shown = [f"loss {self._losses[phase]:.3f}"] if phase in self._losses else []
        shown += [f"{name.removeprefix(VALIDATION)} {value:.1%}" for name, value in self._accuracies.items()]
        return "  ".join(shown)

    def _line(self, phase: str, step: int, steps: int, shown: str) -> None:
        """A line now and then, and at the end of a phase."""
        now = time.monotonic()
        began, first = self._began.setdefault(phase, (now, step))
        if step < steps and now - self._last_line < LINE_EVERY_S:
            return
        self._last_line = now
        rate = (now - began) / max(step - first, 1)
        left = _duration(rate * (steps - step)) if step > first else "?"
        self._console.print(f"{phase} {step}/{steps} {shown} time left {left}", highlight=False, soft_wrap=True)
