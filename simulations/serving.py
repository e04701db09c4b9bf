"""A node's side of a simulated message: the very ClientApp that real nodes run, called in a worker.

What travels is plain data. Flower's message is made here, now: one that waited for hours for a free worker is not
older than any other.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast

from flwr.app import ArrayRecord, Context, Error, Message, Metadata, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from simulations.executors.calls import load
from simulations.executors.executor import Shared
from simulations.records import Plain, count_bytes, from_blob, to_plain, to_records
from tinytrain_core.errors import FleetError

FUNCTION = f"{__name__}:serve"
RUN, SERVER, TASK = 1, 1, 1  # as Flower numbers its only run, and the server among the nodes
APP_RAISED, APP_CRASHED = 2, 8  # Flower's codes of errors
KEPT_ARRAYS = 4  # records of arrays that a worker holds ready


class Request(NamedTuple):
    """A message to a node as it travels to a worker.

    Attributes:
        app: `module:name` of the ClientApp.
        node: Flower's number of it.
        node_config: what its runtime was started with.
        records: of the message; those of arrays are keys of published data.
        state: what the app kept of the last message; None is nothing.
    """

    app: str
    node: int
    node_config: dict[str, Any]
    run_config: dict[str, Any]
    message_id: str
    kind: str
    group_id: str
    ttl_s: float
    records: Plain
    state: Plain | None


class Reply(NamedTuple):
    """What became of it.

    Attributes:
        records: None where `error` is one of Flower's codes.
        size_bytes: of the records.
        state: what the app keeps; None where it did not come to an end, which leaves what it kept before.
    """

    records: Plain | None
    error: int
    size_bytes: int
    state: Plain | None


_app = lru_cache(maxsize=None)(load)
_arrays: dict[str, ArrayRecord] = {}


def _published(key: str, shared: Shared) -> ArrayRecord:
    """A published record of arrays, read once a process; whoever gets it may change it."""
    if key not in _arrays:
        while len(_arrays) >= KEPT_ARRAYS:
            del _arrays[next(iter(_arrays))]
        _arrays[key] = from_blob(shared[key])
    return ArrayRecord(dict(_arrays[key].items()))


def identify(node: int) -> None:
    """Tell Flower who makes messages in this process."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, node, TASK


def _message(request: Request, shared: Shared) -> Message:
    identify(SERVER)
    content = to_records(request.records, lambda key: _published(key, shared))
    message = Message(content, request.node, request.kind, ttl=request.ttl_s, group_id=request.group_id)
    message.metadata.__dict__["_message_id"] = request.message_id  # as Flower's own grids do
    return message


def _context(request: Request) -> Context:
    state = RecordDict() if request.state is None else to_records(request.state)
    return Context(RUN, request.node, dict(request.node_config), state, dict(request.run_config))


def serve(argument: Any, shared: Shared) -> Any:
    """Let a node's app answer a message; `argument` is a `Request` as a tuple, what it returns a `Reply` as one.

    Raises:
        FleetError: what the app returned is no message.
        Exception: whatever the app raises.
    """
    request = Request(*argument)
    message, context = _message(request, shared), _context(request)
    identify(request.node)
    reply = _app(request.app)(message, context)
    if not isinstance(reply, Message):
        raise FleetError(f"the app {request.app} returned {type(reply).__name__}, not a message")
    state = to_plain(context.state)
    if not reply.has_content():
        return tuple(Reply(None, reply.error.code, 0, state))
    return tuple(Reply(to_plain(reply.content), 0, count_bytes(reply.content), state))


def received(plain: Plain | None, error: int, reason: str, metadata: Metadata) -> Message:
    """The reply as the server gets it: records, or Flower's error."""
    make = cast(Callable[..., Message], Message)  # Flower uses this way of making one itself, and types it not
    if plain is None:
        return make(error=Error(error, reason), metadata=metadata)
    return make(content=to_records(plain), metadata=metadata)
