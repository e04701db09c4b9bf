"""What noise on a device's reports promises, and what it costs; the standard library alone, so that devices know too.

The promise is made to one device, about everything it has: whoever reads its reports can hardly tell one data set from
any other that it might have had (local differential privacy; two data sets are neighbours if they are on the same
device). An accuracy lies between 0 and 1, and another data set may move both of them by 1. So the L2 sensitivity of
the pair is the square root of 2, and its noise is Gaussian with `noise_multiplier` times that.

Reports of one device compose: as many with the same multiplier z are one Gaussian mechanism with z over the root of
their number, of which the trade of epsilon for delta is known exactly (Balle and Wang 2018, theorem 8).
"""

import math
from statistics import NormalDist

from tinytrain_core.statistics import CONFIDENCE

SENSITIVITY = math.sqrt(2)
MIN_MULTIPLIER, MAX_MULTIPLIER = 0.1, 50.0
_FAR = 25.0  # where erfc is about to underflow
_HALVINGS = 200


def noise_deviation(noise_multiplier: float) -> float:
    """The standard deviation of the noise in each of the two accuracies."""
    return SENSITIVITY * noise_multiplier


def gain_deviation(noise_multiplier: float) -> float:
    """The standard deviation of the noise in the difference of the two accuracies."""
    return math.sqrt(2) * noise_deviation(noise_multiplier)


def gain_half_width(noise_multiplier: float, devices: int, spread: float = 0.0) -> float:
    """Half the 95 % interval of the mean gain over many devices, as they report it.

    Args:
        spread: the standard deviation of the gains themselves between devices.
    """
    deviation = math.hypot(gain_deviation(noise_multiplier), spread)
    return NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * deviation / math.sqrt(devices)


def devices_needed(noise_multiplier: float, wanted: float, spread: float = 0.0) -> int:
    """The devices with which `gain_half_width` is at most `wanted`."""
    return math.ceil((gain_half_width(noise_multiplier, 1, spread) / wanted) ** 2)


def _log_tail(x: float) -> float:
    """The logarithm of the standard normal's probability beyond `x`."""
    scaled = x / math.sqrt(2)
    if scaled < _FAR:
        return math.log(math.erfc(scaled) / 2)
    return -(scaled**2) - math.log(2 * scaled * math.sqrt(math.pi))


def delta_spent(epsilon: float, noise_multiplier: float, reports: int) -> float:
    """The least delta for which `reports` of a device are (epsilon, delta) differentially private."""
    mu = math.sqrt(reports) / noise_multiplier
    beyond = math.exp(_log_tail(epsilon / mu - mu / 2))
    return max(beyond - math.exp(epsilon + _log_tail(epsilon / mu + mu / 2)), 0.0)


def epsilon_spent(noise_multiplier: float, reports: int, delta: float) -> float:
    """The least epsilon for which `reports` of a device are (epsilon, delta) differentially private."""
    rho = reports / (2 * noise_multiplier**2)  # the bound by concentrated differential privacy is one from above
    low, high = 0.0, rho + 2 * math.sqrt(rho * math.log(1 / delta))
    if delta_spent(low, noise_multiplier, reports) <= delta:
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_spent(middle, noise_multiplier, reports) > delta else (low, middle)
    return high


def noise_for(epsilon: float, reports: int, delta: float) -> float:
    """The least noise multiplier for which `reports` of a device are (epsilon, delta) differentially private.

    It is looked for between those that a device takes, and is one of these two where it lies beyond them.
    """
    low, high = MIN_MULTIPLIER, MAX_MULTIPLIER
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_spent(epsilon, middle, reports) > delta else (low, middle)
    return high
