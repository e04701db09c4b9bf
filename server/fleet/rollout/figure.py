"""What a rollout keeps of a device's report: the figures that its gates look at."""

from dataclasses import dataclass

from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import Delivery
from tinytrain_core.report import Outcome

# What a device reports of an order that it did not carry out, and may yet carry out when it is ordered again.
TRANSIENT = frozenset((ErrorCode.TOO_LATE, ErrorCode.SUPERSEDED))


@dataclass(frozen=True)
class Figure:
    """What a gate looks at of a device's report.

    Attributes:
        before, after: accuracies without noise and with; see `exact`.
        previous: the accuracy in use that the device last reported of another release that is not withdrawn; None
            where it never did.
        tells: whether there are accuracies at all, be it with noise.
    """

    device: int
    attempt: int
    report_id: int
    outcome: int
    error: int = ErrorCode.NONE
    before: float = 0.0
    after: float = 0.0
    previous: float | None = None
    tells: bool = True

    @property
    def transient(self) -> bool:
        """Whether it says that the order was not carried out."""
        return self.error in TRANSIENT

    @property
    def exact(self) -> bool:
        """Whether the accuracies are figures without noise."""
        return self.outcome not in (Outcome.FAILED, Outcome.WITHHELD)

    @property
    def noisy(self) -> bool:
        """Whether the accuracies are figures with noise."""
        return self.outcome == Outcome.WITHHELD and self.tells

    @property
    def in_use(self) -> float:
        """The accuracy of what the device uses now."""
        return self.after if self.outcome == Outcome.ADAPTED else self.before

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Of several figures of a device the one of the highest rank counts, in whatever order they come."""
        return (not self.transient, self.attempt, self.report_id)


def figure(delivery: Delivery, previous: float | None = None) -> Figure:
    """The figure of a report."""
    envelope, report = delivery.envelope, delivery.report
    return Figure(
        *(report.device, envelope.attempt, envelope.report_id, report.outcome, report.error),
        *(report.accuracy_before, report.accuracy_after, previous, report.has_accuracies),
    )
