"""A server's message as plain data, and how talking to a server fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tinytrain_core.orders import Answer


class OfflineError(Exception):
    """The server does not answer, or not as it should; it is tried again.

    Attributes:
        status: HTTP's, where there was an answer that says that the server has trouble of its own.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class RunEndedError(Exception):
    """The run that a message belongs to is over: nobody waits for an answer."""


class RefusedError(Exception):
    """The server answers, and does not let this node in.

    Attributes:
        call: what was asked; status: HTTP's.
    """

    def __init__(self, call: str, status: int) -> None:
        super().__init__(f"{call}: HTTP {status}")
        self.call, self.status = call, status


@dataclass(frozen=True)
class Incoming:
    """A message of the server's.

    Attributes:
        kind: its type.
        fields: of its request; None where it has none that can be read, or another type than a node takes.
        backbone: the file that it brings.
        expires_s: seconds since 1970 after which nobody waits for an answer.
        handle: for the connection, to answer it.
        problem: why there are no fields, where more can be said than that its type is of no interest.
    """

    kind: str
    fields: Mapping[str, Any] | None
    backbone: bytes | None
    expires_s: float
    handle: object
    problem: str = ""


class Connection(Protocol):
    """A server that can be reached, or not."""

    def open(self, known_id: int | None = None) -> int: ...

    def beat(self) -> None: ...

    def receive(self) -> Incoming | None: ...

    def reply(self, incoming: Incoming, answer: Answer) -> None: ...

    def close(self) -> None: ...
