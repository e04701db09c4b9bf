"""The state of a long run on disk, so that a killed run can go on."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tinytrain_core.errors import StorageError


@dataclass
class Checkpoint:
    """The state of one phase on disk; written beside itself and renamed, so that it is never half there."""

    path: Path
    parts: dict[str, Any]
    every: int = 500

    def load(self) -> int:
        """Restore all parts; the step to continue with.

        Raises:
            StorageError: the file is damaged, or of another run.
        """
        if not self.path.exists():
            return 0
        try:
            saved = torch.load(self.path, weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(saved[name])
            return int(saved["step"])
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise StorageError(f"the checkpoint {self.path} cannot be continued ({error}); delete it") from error

    def save(self, step: int) -> None:
        temporary = self.path.with_suffix(".partial")
        torch.save({"step": step} | {name: part.state_dict() for name, part in self.parts.items()}, temporary)
        temporary.replace(self.path)

    def after(self, step: int, steps: int) -> None:
        """To be called after each step, counted from 1."""
        if step % self.every == 0 or step == steps:
            self.save(step)
