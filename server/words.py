"""Times as the server's commands say them to people."""

from datetime import UTC, datetime

NEVER = "never"


def age(seconds: float | None) -> str:
    """How long ago or for how long: 45 s, 12 min, 3 h, 5 d; "never" for None, and a time to come is no age: 0 s."""
    if seconds is None:
        return NEVER
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def moment(seconds: float | None) -> str:
    """Seconds since 1970 in UTC, as 2025-12-31 23:59:59 UTC; empty for None."""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):  # after the year 9999
        return f"{seconds:.0f} s after 1970"
