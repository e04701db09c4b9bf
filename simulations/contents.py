"""What messages to many nodes have in common, held once: their records, and the arrays that workers share."""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from flwr.app import ArrayRecord, RecordDict

from simulations.executors.executor import Executor
from simulations.records import ARRAYS, Plain, count_bytes, to_blob, to_plain


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says, as many of a round do.

    Attributes:
        records: those of arrays are keys of published data.
        shared: these keys.
        digest: of all of it.
    """

    records: Plain
    shared: tuple[str, ...]
    size_bytes: int
    digest: bytes


def _exactly(value: Any) -> Any:
    """What JSON does not know, told from everything that it does."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    raise TypeError(f"a record holds {type(value).__name__}")


class Contents:
    """The contents of messages that are out, each once, however many messages and records have it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._keys: dict[int, tuple[ArrayRecord, str]] = {}  # by id, which is an object's own while it is held here
        self._contents: dict[str, Content] = {}

    def _key(self, record: ArrayRecord) -> str:
        """The key of a record of arrays, published once; its digest is not made again for the same object."""
        if id(record) not in self._keys:
            key = record.object_id
            self._executor.publish(key, to_blob(record))
            self._keys[id(record)] = record, key
        return self._keys[id(record)][1]

    def of(self, records: RecordDict) -> Content:
        """What a message with these records says."""
        plain = to_plain(records, self._key)
        text = json.dumps(plain, default=_exactly)
        if text not in self._contents:
            shared = tuple(content for letter, content in plain.values() if letter == ARRAYS)
            digest = sha256(text.encode()).digest()
            self._contents[text] = Content(plain, shared, count_bytes(records), digest)
        return self._contents[text]

    def clear(self) -> None:
        """Free everything; no message with any of it is being computed."""
        for _, key in self._keys.values():
            self._executor.withdraw(key)
        self._keys.clear()
        self._contents.clear()
