"""The state of a long run on disk, so that a killed run can go on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tinytrain_core.errors import UNREADABLE, StorageError
from tinytrain_core.files import replacing


@dataclass
class Checkpoint:
    """The state of one phase on disk; never half there.

    Attributes:
        parts: what has `state_dict` and `load_state_dict`.
    """

    path: Path
    parts: dict[str, Any]

    def load(self) -> dict[str, Any]:
        """Restore all parts; what was saved with them (`step` at least), or step 0.

        Raises:
            StorageError: the file is damaged, or of another architecture.
        """
        if not self.path.exists():
            return {"step": 0}
        try:
            saved: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(saved.pop(name))
            return {"step": int(saved.pop("step"))} | saved
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:300]
            raise StorageError(
                f"the checkpoint {self.path} cannot be continued, it is damaged or of another architecture "
                f"({type(error).__name__}: {reason}); delete it, or give another --out"
            ) from error

    def save(self, step: int, **more: float) -> None:
        """Replace the file.

        Raises:
            StorageError: it cannot be written; the one before is still there.
        """
        state = {name: part.state_dict() for name, part in self.parts.items()}
        try:
            with replacing(self.path) as stream:
                torch.save({"step": step, **more} | state, stream)
        except (OSError, RuntimeError) as error:
            kept = f"; {self.path} is still that of an earlier step" if self.path.exists() else ""
            reason = " ".join(str(error).split())[:300]
            raise StorageError(
                f"cannot write the checkpoint of step {step} to {self.path}: is the disk full? ({reason}){kept}"
            ) from error
