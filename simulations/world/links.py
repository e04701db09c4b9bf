"""What a link makes of a message: bytes over the air, and seconds."""

from dataclasses import dataclass
from math import ceil

from simulations.world.settings import Link

BITS = 8


@dataclass(frozen=True)
class Transfer:
    """One message, one way. `sent_bytes` counts what was lost and sent again."""

    sent_bytes: int
    time_s: float


def transfer(content_bytes: int, bits_per_s: float | None, link: Link, bandwidth: float = 1.0) -> Transfer:
    """A message of `content_bytes` over a link in one direction.

    Args:
        bits_per_s: the link's in that direction; None takes no time beyond the latency.
        bandwidth: this node's, as a multiple of the link's.
    """
    sent_bytes = ceil(content_bytes / (1 - link.loss))
    carried_s = 0.0 if bits_per_s is None else BITS * sent_bytes / (bits_per_s * bandwidth)
    return Transfer(sent_bytes, link.latency_s + carried_s)
