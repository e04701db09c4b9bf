"""What noise on reports promises, by Google's `dp-accounting` and by the exact formula, and what it costs.

Every report is a Gaussian mechanism with its multiplier, whose sensitivity is for any two data sets of a device: so
the accountants' own neighbouring relation, which is about one row more or less, only lends its name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tinytrain_core.errors import ConfigurationError
from tinytrain_core.privacy import (
    MAX_MULTIPLIER,
    MIN_MULTIPLIER,
    devices_needed,
    epsilon_spent,
    gain_deviation,
    gain_half_width,
    noise_for,
)

ONE_POINT = 0.01
FLEET_SIZES = (100, 1_000, 10_000, 100_000)
TOLERANCE = 1e-4  # of a noise multiplier that is looked for
LOSS_STEP = 1e-4  # of the discretised privacy loss, at least; of an epsilon so large that it means nothing a share
STEPS = 100_000


@dataclass(frozen=True)
class Accounting:
    """What `reports` of one device spend together: the least epsilon known by each way of counting.

    Attributes:
        epsilon: exact, by the formula that devices have.
        epsilon_pld, epsilon_rdp: by privacy loss distributions, and by Rényi differential privacy, an upper bound.
    """

    noise_multiplier: float
    reports: int
    delta: float
    epsilon: float
    epsilon_pld: float
    epsilon_rdp: float


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ConfigurationError(
            "dp-accounting is not installed; `pip install 'tinytrain-fleet[privacy]'` brings it"
        ) from None


def _events(reports: int) -> Callable[[float], Any]:
    """The event that a device's reports are, by their noise multiplier."""
    accounting = _package("dp_accounting")
    return lambda multiplier: accounting.SelfComposedDpEvent(accounting.GaussianDpEvent(multiplier), reports)


def _pld_accountant(epsilon: float) -> Callable[[], Any]:
    """Makes accountants whose memory stays within bounds where epsilon is about as large as that."""
    pld, relation = _package("dp_accounting.pld"), _package("dp_accounting").NeighboringRelation.ADD_OR_REMOVE_ONE
    return lambda: pld.PLDAccountant(relation, max(LOSS_STEP, epsilon / STEPS))


def account(noise_multiplier: float, reports: int, delta: float) -> Accounting:
    """Count what is spent, in three ways.

    Raises:
        ConfigurationError: `dp-accounting` is not installed, or a number is out of range.
    """
    check(noise_multiplier, reports, delta)
    exact, spent = epsilon_spent(noise_multiplier, reports, delta), []
    for accountant in (_pld_accountant(exact)(), _package("dp_accounting.rdp").RdpAccountant()):
        accountant.compose(_events(reports)(noise_multiplier))
        spent.append(float(accountant.get_epsilon(delta)))
    return Accounting(noise_multiplier, reports, delta, exact, *spent)


def check(noise_multiplier: float, reports: int, delta: float) -> None:
    """Refuse what no device can be set to.

    Raises:
        ConfigurationError: a number is out of range.
    """
    if not MIN_MULTIPLIER <= noise_multiplier <= MAX_MULTIPLIER:
        raise ConfigurationError(
            f"a noise multiplier of {noise_multiplier:g}; a device takes {MIN_MULTIPLIER:g} to {MAX_MULTIPLIER:g}"
        )
    if reports < 1 or not 0 < delta < 1:
        raise ConfigurationError(f"{reports} reports and delta {delta:g}; expected one at least, and delta in (0, 1)")


def multiplier_for(epsilon: float, reports: int, delta: float) -> float:
    """The least noise multiplier with which a device's reports spend at most epsilon, by privacy loss distributions.

    Raises:
        ConfigurationError: `dp-accounting` is not installed, or no multiplier that a device takes does it.
    """
    check(1.0, reports, delta)
    accounting = _package("dp_accounting")
    least, most = (epsilon_spent(multiplier, reports, delta) for multiplier in (MAX_MULTIPLIER, MIN_MULTIPLIER))
    if not least < epsilon < most:
        raise ConfigurationError(
            f"epsilon {epsilon:g} for {reports} reports at delta {delta:g} is out of reach: the multipliers that a "
            f"device takes give {least:.2g} to {most:.3g}; ask for another number of reports"
        )
    exact = noise_for(epsilon, reports, delta)
    bracket = accounting.ExplicitBracketInterval(0.9 * exact, 1.1 * exact)
    found = accounting.calibrate_dp_mechanism(
        _pld_accountant(epsilon), _events(reports), epsilon, delta, bracket_interval=bracket, tol=TOLERANCE
    )
    return float(found)


def costs(noise_multiplier: float, spread: float) -> list[dict[str, float]]:
    """How far the noise widens the 95 % interval of the mean gain, in points of accuracy, by the number of devices.

    Args:
        spread: the standard deviation of the gains themselves between devices.
    """
    return [
        {
            "devices": devices,
            "interval": 100 * gain_half_width(noise_multiplier, devices, spread),
            "interval_without_noise": 100 * gain_half_width(0.0, devices, spread),
        }
        for devices in FLEET_SIZES
    ]


def sentences(accounting: Accounting, spread: float) -> list[str]:
    """The promise and its price in words."""
    needed = devices_needed(accounting.noise_multiplier, ONE_POINT, spread)
    points = 100 * gain_deviation(accounting.noise_multiplier)
    return [
        f"{accounting.reports} reports of a device with noise multiplier {accounting.noise_multiplier:g} are "
        f"({accounting.epsilon:.2f}, {accounting.delta:g}) differentially private together: "
        f"{accounting.epsilon_pld:.2f} by privacy loss distributions, {accounting.epsilon_rdp:.2f} by Rényi's bound.",
        "Neighbours are any two data sets of one device; the server is not trusted, failures and times are not hidden.",
        f"The noise in a reported gain has a standard deviation of {points:.0f} points; the mean gain is known to "
        f"± 1 point from {needed:,} devices on.",
    ]
