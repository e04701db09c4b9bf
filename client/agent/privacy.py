"""Noise on what a device reports, if its owner asks for it; `tinytrain_core/privacy.py` says what that promises.

Protected are the figures that follow from the images. Not protected: that a device takes part, when it reports, that
it failed and with which error code. Its noise is drawn from the operating system's entropy, never from a seed of the
run, and once for each report, before that waits to be sent: the same figures with fresh noise would tell more.
"""

import random
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tinytrain_core.errors import ErrorCode
from tinytrain_core.privacy import MAX_MULTIPLIER, MIN_MULTIPLIER, epsilon_spent, noise_deviation
from tinytrain_core.report import MAX_NOISY, PUBLIC, Outcome, PersonalisationReport, failure

STEPS_OF_ONE = 2**10  # the grid of a noisy accuracy, too coarse for the last bits of a float to tell its sum apart


class PrivacyConfig(BaseModel):
    """How a device protects its figures.

    Attributes:
        noise_multiplier: the noise's standard deviation over the sensitivity.
        max_reports: with accuracies, of one device ever; later ones withhold them. Raising it spends more.
        delta: for which `epsilon` is stated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    noise_multiplier: float = Field(ge=MIN_MULTIPLIER, le=MAX_MULTIPLIER)
    max_reports: int = Field(30, ge=1, le=10_000)
    delta: float = Field(1e-6, gt=0, le=1e-3)

    @property
    def epsilon(self) -> float:
        """What all reports of a device spend together."""
        return epsilon_spent(self.noise_multiplier, self.max_reports, self.delta)


@dataclass(frozen=True)
class Protected:
    """A report as it may leave, and how many of this device's have spent privacy, this one included.

    Both are to be written down in one transaction: a report that is lost before that has told nobody anything.
    """

    report: PersonalisationReport
    spent: int


def _noisy(accuracy: float, deviation: float, rng: random.Random) -> float:
    noisy = round((accuracy + rng.gauss(0.0, deviation)) * STEPS_OF_ONE) / STEPS_OF_ONE
    return min(max(noisy, -float(MAX_NOISY)), float(MAX_NOISY))


def _told(report: PersonalisationReport) -> dict[str, Any]:
    """The fields that do not depend on the images."""
    return {name: getattr(report, name) for name in PUBLIC} | {"outcome": Outcome.WITHHELD}


def protect(
    report: PersonalisationReport, config: PrivacyConfig, spent: int, rng: random.Random | None = None
) -> Protected:
    """The report as it may leave the device: with noisy accuracies, or without any once enough of them have left.

    Nothing else in it depends on the images. A failure is told as such, with its code, and spends nothing.

    Args:
        spent: how many reports of this device have left with accuracies.
        rng: for tests; by default the operating system's entropy.

    Raises:
        ValueError: the report is protected already.
    """
    if report.outcome == Outcome.WITHHELD:
        raise ValueError(f"the report of device {report.device} is protected already")
    if report.outcome == Outcome.FAILED:
        told = failure(ErrorCode(report.error), report.device, report.profile, report.round)
        return Protected(told, spent)
    if spent >= config.max_reports:
        return Protected(PersonalisationReport(**_told(report)), spent)
    rng = rng or random.SystemRandom()
    deviation = noise_deviation(config.noise_multiplier)
    accuracies: dict[str, Any] = {
        "accuracy_before": _noisy(report.accuracy_before, deviation, rng),
        "accuracy_after": _noisy(report.accuracy_after, deviation, rng),
        "holdout_images": 1,
    }
    return Protected(PersonalisationReport(**_told(report), **accuracies), spent + 1)
