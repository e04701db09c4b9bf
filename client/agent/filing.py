"""What a report becomes before it is written down: figures as coarse as they are useful, and noise where it is wanted.

An order's settings are not signed, so that a server may ask about the same images in many ways; exact losses and times
would tell it more of them than anybody needs.
"""

from client.agent.privacy import PrivacyConfig, protect
from client.agent.standing import Standing
from tinytrain_core.report import Outcome, PersonalisationReport

LOSS_DIGITS, SECONDS_DIGITS = 3, 1


def coarse(report: PersonalisationReport) -> PersonalisationReport:
    """The report with losses to a thousandth and its time to a tenth of a second."""
    return report.model_copy(
        update={
            "loss_first": round(report.loss_first, LOSS_DIGITS),
            "loss_last": round(report.loss_last, LOSS_DIGITS),
            "wall_s": round(report.wall_s, SECONDS_DIGITS),
        }
    )


def fit_to_leave(
    report: PersonalisationReport, standing: Standing, privacy: PrivacyConfig | None
) -> tuple[PersonalisationReport, Standing]:
    """The report as it may leave the device, and the standing once it has; one that is protected stays as it is."""
    if privacy is None or report.outcome == Outcome.WITHHELD:
        return coarse(report), standing
    told = protect(report, privacy, standing.spent.get(report.device, 0))
    return told.report, standing.spending({report.device: told.spent})
