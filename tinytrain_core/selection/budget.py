"""What a device may spend."""

from dataclasses import dataclass

from tinytrain_core.errors import BudgetError


@dataclass(frozen=True)
class Budget:
    """What a device may spend.

    Attributes:
        memory_bytes: live bytes at any moment.
        backward_macs: per step and image.
        storage_bytes: of features in a file; 0 keeps none there.
        paper_bytes: a cap in the paper's ledger, to which methods that choose hold themselves; None is no cap.
    """

    memory_bytes: int
    backward_macs: int
    storage_bytes: int = 0
    paper_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.memory_bytes <= 0 or self.backward_macs < 0 or self.storage_bytes < 0:
            raise BudgetError(
                f"a budget needs memory, and no negative MACs or storage, not {self.memory_bytes} B, "
                f"{self.backward_macs} MACs and {self.storage_bytes} B"
            )
