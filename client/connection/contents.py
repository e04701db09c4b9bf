"""What a message brings, pulled object by object: within a limit, over a connection that may be slow or break."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Message, RecordDict
from flwr.proto import message_pb2, node_pb2
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree

from client.connection.calls import FleetCalls
from client.connection.fleet_messages import KINDS, UnusableError, inflated, unpack
from client.connection.messages import Incoming
from client.connection.pace import Meanwhile
from client.connection.transport import TooMuchError
from tinytrain_core.digests import digest
from tinytrain_core.orders import TRAIN_ORDER

MAX_OBJECTS = 64  # of one message; a backbone in one array is six or seven
MAX_MESSAGE_BYTES = 32 * 2**20
PULL_PROMISE_S = 300.0  # a sign of life while an object comes, which may be slow
PULL_SIGNS_S = 120.0


class NotYetError(Exception):
    """The server has announced an object that it does not have yet: a message comes before all of its contents."""


class NotThereError(Exception):
    """The server does not have an object of a message, or has another one under its name."""


@dataclass
class Unfetched:
    """A message and what there is of its contents; `since` by the monotonic clock."""

    message: Message
    tree: Any
    since: float
    tries: int = 0
    contents: dict[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of its contents so far."""
        return sum(map(len, self.contents.values()))


@dataclass
class Contents:
    """Pulls the contents of messages.

    Attributes:
        sign: gives a sign of life, which promises the next within so many seconds, or as many as usual.
    """

    _calls: FleetCalls
    _sign: Callable[[float | None], None]
    _meanwhile: Meanwhile

    def whole(self, node: node_pb2.Node | None, wanted: Unfetched) -> Incoming:
        """A message with its contents, or with the reason why they are not taken."""
        if wanted.message.metadata.message_type not in KINDS:
            return unpack(wanted.message, None)
        try:
            return unpack(wanted.message, self._content(node, wanted))
        except (UnusableError, TooMuchError) as error:
            return unpack(wanted.message, None, str(error))

    def _content(self, node: node_pb2.Node | None, wanted: Unfetched) -> RecordDict:
        """The records of a message, which come object by object.

        Raises:
            UnusableError, TooMuchError: they are too much or make no sense.
        """
        run_id, contents = wanted.message.metadata.run_id, wanted.contents
        names = dict.fromkeys(part.object_id for part in iterate_object_tree(wanted.tree))
        if len(names) > MAX_OBJECTS:
            raise UnusableError(f"it is {len(names)} objects, {MAX_OBJECTS} are taken at most")
        large, signed = wanted.message.metadata.message_type == TRAIN_ORDER, -math.inf
        for name in names:
            if name in contents:
                continue
            if large and time.monotonic() - signed > PULL_SIGNS_S:
                self._sign(PULL_PROMISE_S)
                signed = time.monotonic()
            self._calls.object_bytes = MAX_MESSAGE_BYTES - wanted.size
            contents[name] = self._pull(node, run_id, name)
            wanted.tries = 0
            self._meanwhile.progress()
            if wanted.size > MAX_MESSAGE_BYTES:
                raise UnusableError(f"it is longer than {MAX_MESSAGE_BYTES} bytes")
        if signed > 0:
            self._sign(None)
        confirm = message_pb2.ConfirmMessageReceivedRequest(
            node=node, run_id=run_id, message_object_id=wanted.tree.object_id
        )
        self._calls.call("ConfirmMessageReceived", confirm)
        return inflated(wanted.tree.object_id, contents, MAX_MESSAGE_BYTES)

    def _pull(self, node: node_pb2.Node | None, run_id: int, object_id: str) -> bytes:
        request = message_pb2.PullObjectRequest(node=node, run_id=run_id, object_id=object_id)
        pulled = self._calls.call("PullObject", request)
        if pulled.object_found and not pulled.object_available:
            raise NotYetError
        content = bytes(pulled.object_content)
        if not pulled.object_found:
            raise NotThereError(f"the server does not have its object {object_id:.16}")
        if digest(content) != object_id:
            raise NotThereError(f"its object {object_id:.16} is not what it is called")
        return content
