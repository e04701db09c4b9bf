"""Numbers as people read them: three significant digits and the unit that suits the size."""

from tinytrain_core.statistics import Mean, Paired

NOTHING = "–"
KIBI = 1024
KILO = 1000
MORE_DIGITS = 3
LEAST_VALUES = 3  # that an interval is shown of; of two it is wider than all that can be


def _scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    index = 0
    while abs(value) >= step * 0.9995 and index < len(units) - 1:
        value, index = value / step, index + 1
    digits = 0 if abs(value) >= 100 or (index == 0 and value == int(value)) else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} {units[index]}".rstrip()


def bytes_text(value: float) -> str:
    """Bytes in powers of 1024."""
    return _scaled(value, KIBI, ("B", "KiB", "MiB", "GiB"))


def counted(count: int, one: str, many: str = "") -> str:
    """A count and its noun, whose plural is with an s unless `many` says it."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def count_text(value: float) -> str:
    """A count in powers of 1000."""
    return _scaled(value, KILO, ("", "k", "M", "G", "T"))


def seconds_text(value: float | None) -> str:
    """Seconds; minutes above two of them, hours above two of those; milliseconds below a tenth of a second."""
    if value is None:
        return NOTHING
    if value and value < 0.1:
        return _scaled(value * 1000, KILO, ("ms",))
    if value >= 7200:
        return f"{value / 3600:.1f} h"
    return f"{value / 60:.1f} min" if value >= 120 else _scaled(value, KILO, ("s",))


def joules_text(value: float | None) -> str:
    """Joules, kilojoules above a thousand of them."""
    return NOTHING if value is None else _scaled(value, KILO, ("J", "kJ", "MJ"))


def percent_text(share: float | None, digits: int = 0) -> str:
    """A share as per cent; with up to `MORE_DIGITS` more where rounding would make it none or the whole."""
    if share is None:
        return NOTHING
    most = digits + MORE_DIGITS
    while share not in (0, 1) and round(100 * share, digits) in (0, 100) and digits < most:
        digits += 1
    return f"{100 * share:.{digits}f} %"


def figure_text(value: float) -> str:
    """Four significant digits of what has its unit in the head of its column, one after the point at least."""
    return f"{value:.{1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3}f}"


def change_text(share: float) -> str:
    """A relative difference in per cent, signed."""
    return f"{100 * share:+.1f} %".replace("-", "−")


def shown_interval(mean: Mean | Paired) -> float | None:
    """Half the 95 % interval, where there are values enough for it to say anything."""
    return mean.interval if mean.count >= LEAST_VALUES else None


def half_text(mean: Mean | Paired) -> str:
    """Half the interval of a share in per cent, to follow the mean; empty where it is not shown."""
    half = shown_interval(mean)
    return "" if half is None else f" ± {100 * half:.1f}"


def accuracy_text(mean: Mean | None) -> str:
    """A mean accuracy in per cent with its half interval."""
    return NOTHING if mean is None else f"{100 * mean.mean:.1f}{half_text(mean)}"


def gain_text(mean: Mean | None) -> str:
    """A mean difference in percentage points, signed, with its half interval."""
    return NOTHING if mean is None else f"{100 * mean.mean:+.1f}{half_text(mean)}".replace("-", "−")


def points_text(share: float | None) -> str:
    """A difference of accuracies in percentage points, signed."""
    return NOTHING if share is None else f"{100 * share:+.1f}".replace("-", "−")


def interval_text(interval: tuple[float, float] | None) -> str:
    """An interval of shares in per cent."""
    return NOTHING if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"
