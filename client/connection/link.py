"""A node's connection to the fleet's SuperLink.

It takes Flower's client of the Fleet API and none of the loop above it: that one pulls the bundle of code which the
server ships, ends the process when a connection fails, and lets a thread of its own raise signals. Here nothing that
a server sends is ever executed, only two types of message are looked into, and only records of numbers that were
validated are sent. Whatever cannot be understood is answered with a valid status that says so.
"""

import logging
import time
from collections import deque
from itertools import islice
from pathlib import Path

from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, node_pb2
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

from client.connection.calls import FleetCalls
from client.connection.contents import Contents, NotThereError, NotYetError, Unfetched
from client.connection.fleet_messages import message_of, reply_to
from client.connection.identity import Identity
from client.connection.messages import Incoming, OfflineError, RefusedError, RunEndedError
from client.connection.pace import Meanwhile, StoppedError
from tinytrain_core.orders import Answer

log = logging.getLogger(__name__)

MAX_MESSAGES = 20  # in one answer of the server's
PULL_TRIES = 5  # one after the other without a single object more
UPLOAD_S = 120.0  # that the server has to get the contents of a message after the message itself


class Link:
    """The Fleet API of one SuperLink. Every call raises OfflineError where the server does not answer.

    Args:
        server: host:port; ca: the file of the certificate that the server's is signed with.
        interval_s: seconds within which this node promises a sign of life.
        meanwhile: what the device does while it waits for the server.
    """

    def __init__(
        self, server: str, ca: Path, identity: Identity, interval_s: float = 30.0, meanwhile: Meanwhile | None = None
    ) -> None:
        self._interval_s, self._identity = max(interval_s, 30.0), identity
        meanwhile = meanwhile or Meanwhile()
        self._calls = FleetCalls(server, ca, identity, meanwhile)
        self._contents = Contents(self._calls, self._sign, meanwhile)
        self._node: node_pb2.Node | None = None
        self._last_id: int | None = None
        self._unfetched: deque[Unfetched] = deque()

    def open(self, known_id: int | None = None) -> int:
        """Come online, and learn the node's number; a number that is known already needs a sign of life only.

        Raises:
            RefusedError: the server does not know the key, or counts the node as online already.
        """
        if known_id is not None:
            self._node = node_pb2.Node(node_id=known_id)
            try:
                self.beat()
                self._last_id = known_id
                return known_id
            except RefusedError:
                self._node = None
        request = fleet_pb2.ActivateNodeRequest(public_key=self._identity.public, heartbeat_interval=self._interval_s)
        node_id = int(self._calls.call("ActivateNode", request).node_id)
        if not node_id:
            raise OfflineError("ActivateNode: the answer names no node")
        if node_id != self._last_id:
            self._unfetched.clear()  # they were another's, of a server that has begun anew
        self._last_id = node_id
        self._node = node_pb2.Node(node_id=node_id)
        return node_id

    def beat(self) -> None:
        """Give a sign of life.

        Raises:
            RefusedError: the server no longer knows the node.
        """
        self._sign()

    def _sign(self, promise_s: float | None = None) -> None:
        interval_s = promise_s or self._interval_s
        request = heartbeat_pb2.SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=interval_s)
        if not self._calls.call("SendNodeHeartbeat", request).success:
            raise RefusedError("SendNodeHeartbeat", 404)

    def receive(self) -> Incoming | None:
        """The next message, None where there is none or its run has ended.

        Raises:
            RefusedError: the server no longer knows the node.
        """
        if not self._unfetched:
            pulled = self._calls.call("PullMessages", fleet_pb2.PullMessagesRequest(node=self._node))
            announced = zip(pulled.messages_list, pulled.message_object_trees, strict=False)
            for proto, tree in islice(announced, MAX_MESSAGES):
                if (message := message_of(proto)) is not None:
                    self._unfetched.append(Unfetched(message, tree, time.monotonic()))
        if not self._unfetched:
            return None
        wanted = self._unfetched.popleft()
        try:
            return self._contents.whole(self._node, wanted)
        except RunEndedError:
            return None
        except NotYetError:
            if time.monotonic() - wanted.since < UPLOAD_S:
                self._unfetched.append(wanted)
            else:
                log.error("the contents of a message have not come within %.0f s; it is given up", UPLOAD_S)
            return None
        except NotThereError as error:
            self._later(wanted, error)
            return None
        except StoppedError:
            raise
        except (OfflineError, RefusedError) as error:
            self._later(wanted, error)
            raise

    def _later(self, wanted: Unfetched, error: Exception) -> None:
        """Try a message again, for the server counts it as delivered and will not send it once more."""
        wanted.tries += 1
        if wanted.tries <= PULL_TRIES:
            self._unfetched.append(wanted)
        else:
            log.error("a message of type %.80r is given up: %s", wanted.message.metadata.message_type, error)

    def reply(self, incoming: Incoming, answer: Answer) -> None:
        """Answer a message.

        Raises:
            RunEndedError: nobody waits for it any more.
        """
        if not isinstance(incoming.handle, Message):
            raise TypeError("a reply needs the message that it answers")
        reply = reply_to(incoming.handle, answer)
        run_id = reply.metadata.run_id
        request = fleet_pb2.PushMessagesRequest(
            node=self._node,
            messages_list=[message_to_proto(remove_content_from_message(reply))],
            message_object_trees=[get_object_tree(reply)],
            clientapp_runtime_list=[0.0],
        )
        pushed = self._calls.call("PushMessages", request)
        wanted = set(pushed.objects_to_push)
        for object_id, item in get_all_nested_objects(reply).items():
            if object_id in wanted:
                part = message_pb2.PushObjectRequest(
                    node=self._node,
                    run_id=run_id,
                    object_id=object_id,
                    object_content=item.deflate(),
                    session_id=pushed.session_id,
                )
                self._calls.call("PushObject", part)

    def close(self) -> None:
        """Leave, and say so if the server can be reached."""
        try:
            if self._node is not None and self._calls.connected:
                self._calls.call("DeactivateNode", fleet_pb2.DeactivateNodeRequest(node_id=self._node.node_id))
        except (OfflineError, RefusedError, RunEndedError):
            log.info("the server was not told that this node leaves")
        self._calls.hang_up()
