"""A node's connection to the fleet's SuperLink.

It takes Flower's client of the Fleet API and none of the loop above it: that one pulls the bundle of code which the
server ships, ends the process when a connection fails, and lets a thread of its own raise signals. Here nothing that
a server sends is ever executed, only two types of message are looked into, and only records of numbers that were
validated are sent. Whatever cannot be understood is answered with a valid status that says so.
"""

import logging
import ssl
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from flwr import __version__ as flower_version
from flwr.app import Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import message_to_proto
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, node_pb2
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    FLWR_COMPONENT_NAME_METADATA_KEY,
    FLWR_PACKAGE_NAME_METADATA_KEY,
    FLWR_PACKAGE_VERSION_METADATA_KEY,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, iterate_object_tree
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.connection.fleet_messages import KINDS, inflated, message_of, reply_to, unpack
from client.connection.identity import Identity
from client.connection.messages import Incoming, OfflineError, RefusedError, RunEndedError
from tinytrain_core.digests import digest
from tinytrain_core.orders import Answer

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0
MAX_OBJECTS = 64  # of one message; a backbone in one array is eight
MAX_MESSAGE_BYTES = 32 * 2**20
PULL_TRIES = 5
UPLOAD_S = 120.0  # that the server has to get the contents of a message after the message itself
OF_A_RUN = ("PullObject", "ConfirmMessageReceived", "PushMessages", "PushObject")


@dataclass(frozen=True)
class _Signature:
    """Signs the time of every request, as Flower's own node does."""

    identity: Identity

    def intercept(self, context: Any, call_next: Callable[[Any], httpx.Response]) -> httpx.Response:
        stamp = datetime.now(UTC).isoformat()
        context.request.headers.update(
            {
                FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(self.identity.public).decode("ascii"),
                TIMESTAMP_HEADER: stamp,
                FLEET_HTTP_SIGNATURE_HEADER: b64encode(self.identity.sign(stamp)).decode("ascii"),
                FLWR_PACKAGE_NAME_METADATA_KEY: "flwr",
                FLWR_PACKAGE_VERSION_METADATA_KEY: flower_version,
                FLWR_COMPONENT_NAME_METADATA_KEY: "SuperNode",
            }
        )
        return call_next(context)


class _NotYetError(Exception):
    """The server has announced an object that it does not have yet: a message comes before all of its contents."""


@dataclass
class _Unfetched:
    """A message and what there is of its contents; `since` by the monotonic clock."""

    message: Message
    tree: Any
    since: float
    tries: int = 0
    contents: dict[str, bytes] = field(default_factory=dict)


class Link:
    """The Fleet API of one SuperLink. Every call raises OfflineError where the server does not answer.

    Args:
        server: host:port; ca: the file of the certificate that the server's is signed with.
        interval_s: seconds within which this node promises a sign of life.
    """

    def __init__(self, server: str, ca: Path, identity: Identity, interval_s: float = 30.0) -> None:
        self._server, self._ca, self._interval_s = server, ca, max(interval_s, 30.0)
        self._identity = identity
        self._client: FleetHttpClient | None = None
        self._node: node_pb2.Node | None = None
        self._unfetched: deque[_Unfetched] = deque()

    def _call(self, name: str, request: Any) -> Any:
        """One request to the server.

        Raises:
            OfflineError, RefusedError, RunEndedError: it did not work; `__cause__` is why.
        """
        try:
            if self._client is None:
                self._client = self._connect()
            return getattr(self._client, name)(request)
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            if code == httpx.codes.FORBIDDEN and name in OF_A_RUN:
                raise RunEndedError(f"{name}: HTTP 403") from error
            if 400 <= code < 500:
                raise RefusedError(name, code) from error
            raise OfflineError(f"{name}: HTTP {code}") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            self._hang_up()
            raise OfflineError(f"{name}: {type(error).__name__}: {error}") from error

    def _connect(self) -> FleetHttpClient:
        context = ssl.create_default_context(cafile=str(self._ca))
        return FleetHttpClient(
            f"https://{self._server}", interceptors=[_Signature(self._identity)], verify=context, timeout=TIMEOUT_S
        )

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def open(self, known_id: int | None = None) -> int:
        """Come online, and learn the node's number; a number that is known already needs a sign of life only.

        Raises:
            RefusedError: the server does not know the key, or counts the node as online already.
        """
        if known_id is not None:
            self._node = node_pb2.Node(node_id=known_id)
            try:
                self.beat()
                return known_id
            except RefusedError:
                self._node = None
        request = fleet_pb2.ActivateNodeRequest(public_key=self._identity.public, heartbeat_interval=self._interval_s)
        self._node = node_pb2.Node(node_id=self._call("ActivateNode", request).node_id)
        return int(self._node.node_id)

    def beat(self) -> None:
        """Give a sign of life.

        Raises:
            RefusedError: the server no longer knows the node.
        """
        request = heartbeat_pb2.SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=self._interval_s)
        if not self._call("SendNodeHeartbeat", request).success:
            raise RefusedError("SendNodeHeartbeat", 404)

    def receive(self) -> Incoming | None:
        """The next message, None where there is none or its run has ended.

        Raises:
            RefusedError: the server no longer knows the node.
        """
        if not self._unfetched:
            pulled = self._call("PullMessages", fleet_pb2.PullMessagesRequest(node=self._node))
            for proto, tree in zip(pulled.messages_list, pulled.message_object_trees, strict=False):
                if (message := message_of(proto)) is not None:
                    self._unfetched.append(_Unfetched(message, tree, time.monotonic()))
        if not self._unfetched:
            return None
        wanted = self._unfetched.popleft()
        try:
            known = wanted.message.metadata.message_type in KINDS
            return unpack(wanted.message, self._content(wanted) if known else None)
        except RunEndedError:
            return None
        except _NotYetError:
            if time.monotonic() - wanted.since < UPLOAD_S:
                self._unfetched.append(wanted)
            return None
        except OfflineError:
            wanted.tries += 1
            if wanted.tries <= PULL_TRIES:  # the server counts the message as delivered and will not send it again
                self._unfetched.append(wanted)
            raise

    def _content(self, wanted: "_Unfetched") -> RecordDict | None:
        """The records of a message, which come object by object; None where they are too much or make no sense."""
        run_id, contents = wanted.message.metadata.run_id, wanted.contents
        for part in iterate_object_tree(wanted.tree):
            if len(contents) >= MAX_OBJECTS or sum(map(len, contents.values())) > MAX_MESSAGE_BYTES:
                return None
            if part.object_id not in contents:
                contents[part.object_id] = self._pull(run_id, part.object_id)
        confirm = message_pb2.ConfirmMessageReceivedRequest(
            node=self._node, run_id=run_id, message_object_id=wanted.tree.object_id
        )
        self._call("ConfirmMessageReceived", confirm)
        return inflated(wanted.tree.object_id, contents)

    def _pull(self, run_id: int, object_id: str) -> bytes:
        request = message_pb2.PullObjectRequest(node=self._node, run_id=run_id, object_id=object_id)
        pulled = self._call("PullObject", request)
        if pulled.object_found and not pulled.object_available:
            raise _NotYetError
        content = bytes(pulled.object_content)
        if not pulled.object_found or digest(content) != object_id:
            raise OfflineError(f"object {object_id[:16]} is not there, or not what it is called")
        return content

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
        pushed = self._call("PushMessages", request)
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
                self._call("PushObject", part)

    def close(self) -> None:
        """Leave, and say so if the server can be reached."""
        try:
            if self._node is not None and self._client is not None:
                self._call("DeactivateNode", fleet_pb2.DeactivateNodeRequest(node_id=self._node.node_id))
        except (OfflineError, RefusedError, RunEndedError):
            log.info("the server was not told that this node leaves")
        self._hang_up()
