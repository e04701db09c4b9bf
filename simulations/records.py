"""Flower's records as plain data, which is quick to pickle, and back.

A record is a pair of a letter and its content: "m" (metrics) and "c" (configuration) have a dict, "a" (arrays) has
whatever its sender made of it: a key of published data on the way to a node, packed arrays on the way back.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

Plain = dict[str, tuple[str, Any]]
Packed = dict[str, tuple[str, tuple[int, ...], str, bytes]]  # name -> type, shape, serialisation, data

ARRAYS, METRICS, CONFIG = "a", "m", "c"
_HEADER = 8  # bytes of the length of a blob's description
_LETTERS = ((MetricRecord, METRICS), (ConfigRecord, CONFIG), (ArrayRecord, ARRAYS))
_NUMBER_BYTES = 8


def pack(record: ArrayRecord) -> Packed:
    """The arrays of a record."""
    return {name: (array.dtype, array.shape, array.stype, array.data) for name, array in record.items()}


def unpack(packed: Packed) -> ArrayRecord:
    """The record of those arrays."""
    return ArrayRecord({name: Array(dtype, shape, stype, data) for name, (dtype, shape, stype, data) in packed.items()})


def to_blob(record: ArrayRecord) -> bytes:
    """The arrays of a record as one piece of data."""
    packed = pack(record)
    described = [[name, dtype, shape, stype, len(data)] for name, (dtype, shape, stype, data) in packed.items()]
    header = json.dumps(described).encode()
    return b"".join([len(header).to_bytes(_HEADER, "little"), header, *(data for *_, data in packed.values())])


def from_blob(blob: memoryview) -> ArrayRecord:
    """The record that `to_blob` made `blob` of; it shares nothing with it."""
    at = _HEADER + int.from_bytes(blob[:_HEADER], "little")
    packed: Packed = {}
    for name, dtype, shape, stype, size in json.loads(bytes(blob[_HEADER:at])):
        packed[name] = (dtype, tuple(shape), stype, bytes(blob[at : at + size]))
        at += size
    return unpack(packed)


def _letter(record: Any) -> str:
    return next(letter for kind, letter in _LETTERS if isinstance(record, kind))


def to_plain(records: RecordDict, arrays: Callable[[ArrayRecord], Any] = pack) -> Plain:
    """Records as plain data.

    Args:
        arrays: what becomes of a record of arrays.
    """
    plain: Plain = {}
    for name, record in records.items():
        letter = _letter(record)
        plain[name] = (letter, arrays(record) if isinstance(record, ArrayRecord) else dict(record.items()))
    return plain


def to_records(plain: Mapping[str, tuple[str, Any]], arrays: Callable[[Any], ArrayRecord] = unpack) -> RecordDict:
    """The records that `to_plain` made plain; `arrays` undoes what its `arrays` did."""
    makers: dict[str, Callable[[Any], Any]] = {METRICS: MetricRecord, CONFIG: ConfigRecord, ARRAYS: arrays}
    return RecordDict({name: makers[letter](content) for name, (letter, content) in plain.items()})


def numbers(plain: Plain | None) -> dict[str, dict[str, Any]]:
    """The records of metrics, by name."""
    return {name: content for name, (letter, content) in (plain or {}).items() if letter == METRICS}


def _value_bytes(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_value_bytes, value))
    if isinstance(value, bool):
        return 1
    return len(value) if isinstance(value, str | bytes) else _NUMBER_BYTES


def _record_bytes(record: Any) -> int:
    if isinstance(record, ArrayRecord):
        return record.count_bytes()
    return sum(len(name) + _value_bytes(value) for name, value in record.items())


def count_bytes(records: RecordDict) -> int:
    """Their size as Flower's `count_bytes` counts it, which knows no empty text and no empty list."""
    return sum(map(_record_bytes, records.values()))
