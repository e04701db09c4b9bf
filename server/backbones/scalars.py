"""The figures of a training as TensorBoard's scalars."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from server.backbones.progress import VALIDATION
from tinytrain_core.errors import StorageError

EVERY = 10  # steps
FLUSH_S = 10


class Scalars:
    """A context to be called with (phase, step, steps, figures), which writes each figure as `PHASE/FIGURE`.

    Every tenth step is written, the last one, and every validation. Without TensorBoard there is one line on the
    console, and nothing is written. Each phase has a folder of its own: a phase that goes on from a checkpoint makes
    TensorBoard drop what the folder holds from that step on, in all tags.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
        self._console = console
        self._writer_class: Any = None
        self._writers: dict[str, Any] = {}

    def __enter__(self) -> "Scalars":
        try:
            from torch.utils.tensorboard import SummaryWriter  # an extra, and slow to import
        except ImportError:
            line = "TensorBoard is not installed, so no scalars are written: pip install 'tinytrain-fleet[train]'"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self._writer_class = SummaryWriter
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for writer in self._writers.values():
                writer.close()
        except OSError as failure:
            if error is None:
                raise self._unwritable(failure) from failure

    def __call__(self, phase: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Write the figures of a step; a phase without figures, as that which decodes images, leaves nothing.

        Raises:
            StorageError: the folder cannot be written.
        """
        due = step % EVERY == 0 or step == steps or any(name.startswith(VALIDATION) for name in figures)
        if self._writer_class is None or not figures or not due:
            return
        try:
            for name, value in figures.items():
                self._writer(phase, step).add_scalar(f"{phase}/{name}", value, step)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(f"cannot write scalars to {self._folder}: {error.strerror}; give another --out")

    def _writer(self, phase: str, step: int) -> Any:
        if phase not in self._writers:
            folder = str(self._folder / phase)
            self._writers[phase] = self._writer_class(folder, purge_step=step, flush_secs=FLUSH_S)
        return self._writers[phase]
