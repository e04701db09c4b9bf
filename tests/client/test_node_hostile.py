"""The promise on the wire of an operated device: whatever a server sends, what leaves are valid records of numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord

from client.connection.fleet_messages import UnusableError, inflated, message_of
from tests.client.agents import Device, manifest, order
from tests.client.wires import Records, exchange, fields, message, ordered, silent
from tinytrain_core import wire
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import QUERY_SYNC, TRAIN_ORDER

pytestmark = pytest.mark.usefixtures("flower_identity", "at_now")


def settings_with(**changes: Any) -> Callable[[bytes], Message]:
    def made(data: bytes) -> Message:
        plain = ordered(data)
        for name, value in changes.items():
            plain.content.config_records[wire.REQUEST_RECORD][name] = value
        return message(TRAIN_ORDER, dict(plain.content.items()))

    return made


def array_of(array: Array) -> Callable[[bytes], Message]:
    def made(data: bytes) -> Message:
        records: Records = {wire.REQUEST_RECORD: fields(order(manifest(data, 1)))}
        return message(TRAIN_ORDER, {**records, wire.BACKBONE_RECORD: ArrayRecord({wire.BACKBONE_ARRAY: array})})

    return made


def method(text: str) -> Callable[[bytes], Message]:
    settings = order(manifest(b"x", 1)).settings.replace('"last_layer"', f'"{text}"')
    return settings_with(settings=settings)


HOSTILE: dict[str, Callable[[bytes], Message]] = {
    "another type": lambda _: message("train.steal", {"a": ConfigRecord({"code": "import os"})}),
    "a plain round": lambda data: message("train.personalise", dict(ordered(data).content.items())),
    "evaluate": lambda _: message("evaluate", {}),
    "query": lambda _: message("query.get_weights", {"w": MetricRecord({"w": [1.0] * 1_000})}),
    "nothing in it": lambda _: message(TRAIN_ORDER, {}),
    "no request": lambda _: message(QUERY_SYNC, {"other": ConfigRecord({"a": 1})}),
    "numbers for a request": lambda _: message(QUERY_SYNC, {wire.REQUEST_RECORD: MetricRecord({"protocol": 3})}),
    "another protocol": settings_with(protocol=9),
    "one more field": settings_with(code="__import__('os')"),
    "bytes for text": settings_with(manifest=b"\x80" * 100),
    "a method with a path": method("../../etc/passwd"),
    "a method that is long": method("a" * 4_000),
    "a huge manifest": settings_with(manifest="x" * 100_000),
    "a digest with a path": lambda _: message(
        QUERY_SYNC, {wire.REQUEST_RECORD: ConfigRecord({"protocol": 3, "digest": "../" * 21 + "a"})}
    ),
    "many acknowledgements": settings_with(acknowledged=[1] * 20_000),
    "held for ever": settings_with(hold_s=1e300),
    "not a number": settings_with(hold_s=float("nan")),
    "an array of objects": array_of(Array("object", (9,), "numpy.ndarray", b"\x93NUMPY" + b"x" * 99)),
    "an array of terabytes": array_of(Array("uint8", (2**40,), "numpy.ndarray", b"x" * 99)),
    "an array of negative size": array_of(Array("uint8", (-5,), "numpy.ndarray", b"x" * 99)),
    "an array of two dimensions": array_of(Array(np.zeros((9, 9), dtype=np.uint8))),
    "an array of floats": array_of(Array(np.zeros(9))),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_not_an_order_is_refused_in_numbers(
    hostile: Callable[[bytes], Message], secret_device: Device, data: bytes
) -> None:
    line = exchange(secret_device, hostile(data))
    silent(line)
    (answer,) = line.answers
    assert answer.status.refused == ErrorCode.REQUEST
    assert answer.deliveries == ()
    assert secret_device.state.last() is None
    assert not list(secret_device.node.store.glob("backbones/*"))


def test_a_method_that_does_not_exist_is_a_failure_in_numbers(secret_device: Device, data: bytes) -> None:
    line = exchange(secret_device, ordered(data, hold_s=100.0, settings={"method": "no_such_method:path=a.b"}))
    silent(line)
    assert [d.report.error for d in line.answers[-1].deliveries] == [ErrorCode.CONFIGURATION]


def test_a_file_that_nobody_signed_is_not_kept(secret_device: Device, data: bytes) -> None:
    array = Array(np.frombuffer(data[:-1] + b"!", dtype=np.uint8))
    line = exchange(secret_device, ordered(data, signers=1), array_of(array)(data))
    assert [answer.status.refused for answer in line.answers] == [ErrorCode.SIGNATURE, ErrorCode.MANIFEST]
    assert not list(secret_device.node.store.glob("backbones/*"))
    silent(line)


def test_something_that_is_no_message_has_no_answer() -> None:
    assert message_of(object()) is None
    for content in (b"Message 7", b"\xff" * 100, b"Message  2\0{}"):
        with pytest.raises(UnusableError, match="understood"):
            inflated("a", {"a": content}, 100)
