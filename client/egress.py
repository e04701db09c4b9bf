"""The guard at the door: nothing but valid reports, or a node's profile, leaves a device.

It takes a reply's contents by kind and returns what they are; the caller sends what was returned, rebuilt,
and never the reply itself. So nothing that the guard did not look at can ride along.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tinytrain_core.errors import EgressError
from tinytrain_core.orders import Answer as OrderAnswer
from tinytrain_core.orders import parse_answer
from tinytrain_core.report import PersonalisationReport
from tinytrain_core.wire import NodeProfile, validate_metrics

Answer = list[PersonalisationReport] | NodeProfile


def check_reply(arrays: Collection[str], metrics: Mapping[str, Mapping[str, Any]], configs: Collection[str]) -> Answer:
    """What a reply says.

    Args:
        arrays, configs: the names of its records of arrays and of settings; there may be none.
        metrics: its records of numbers, by name.

    Raises:
        EgressError: it holds anything but one profile, or valid reports numbered from 0. The text has no value.
    """
    if arrays or configs:
        raise EgressError(f"a reply with {len(arrays)} array and {len(configs)} config records; 0 of each may leave")
    return validate_metrics(metrics)


def check_answer(answer: OrderAnswer, devices: Sequence[int]) -> OrderAnswer:
    """A node's answer to its orders, rebuilt from its numbers, if it is about the node's own devices.

    Raises:
        EgressError: it is not a valid answer, or has a report of another device.
    """
    checked = parse_answer(answer.records())
    if strangers := {delivery.report.device for delivery in checked.deliveries} - set(devices):
        raise EgressError(f"an answer with reports of {len(strangers)} devices that are not this node's")
    return checked


def check_devices(answer: Answer, devices: Sequence[int]) -> Answer:
    """The answer, if it is about the node's own devices and no others.

    Raises:
        EgressError: it has another number of reports, or reports of other devices.
    """
    found = answer.devices if isinstance(answer, NodeProfile) else len(answer)
    if found != len(devices):
        raise EgressError(f"a reply about {found} devices from a node of {len(devices)}")
    if isinstance(answer, list) and [report.device for report in answer] != list(devices):
        raise EgressError("the reports are not those of the node's devices in their order")
    return answer
