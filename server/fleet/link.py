"""What the controller needs of the world beside a clock: a link to the nodes. `server/running/fleet_app.py` has
the one over Flower's Grid; simulations and tests have their own.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from tinytrain_core.orders import SyncRequest

Records = Mapping[str, Mapping[str, Any]]


class Link(Protocol):
    """Carries messages. A failure of the network is no exception: nobody is online, nothing is sent or received."""

    def online(self) -> Collection[int]:
        """The ids of the nodes that can be reached now."""

    def send(self, node_id: int, kind: str, request: SyncRequest, backbone: bytes | None, ttl_s: float) -> str | None:
        """Send a node a request; the controller sends it no other before `replies` has told of this one.

        Args:
            kind: `orders.TRAIN_ORDER` with an `OrderRequest`, or `orders.QUERY_SYNC` with a `SyncRequest`.
            backbone: the file to go with an order; the same object for every node that gets it.
            ttl_s: seconds after which an answer is no longer waited for; the request may be held for all but a
                minute of them.

        Returns:
            The message's id; None where it was not sent.
        """

    def replies(self) -> Sequence[tuple[int, Records | None]]:
        """What has come back since the last call: a node's id and its records, or None where the message was lost.

        Each message that was sent is told of once, at the latest a minute or so after its `ttl_s`. Records are passed
        on as they are; the controller validates them. Where a reply holds anything but numbers they are empty.
        """
