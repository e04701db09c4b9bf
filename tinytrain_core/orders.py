"""What passes between the server of an operated fleet and a node, beside `wire.py`'s plain rounds.

`train.order`: the server orders a release, with its signed manifest and, to nodes that lack it, the backbone. The
node writes the order down and answers when it has ended, or after `hold_s`. `query.sync`: the server asks what has
become of it. Either answer is a status and deliveries: reports that the node keeps until a later message names
their ids as received. So a report is delivered once, whoever is killed in between.
"""

import json
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from tinytrain_core.errors import EgressError, ErrorCode, RequestError
from tinytrain_core.release import MAX_KEYS, MAX_MANIFEST_BYTES, KeyId
from tinytrain_core.report import Count, PersonalisationReport, validate_report
from tinytrain_core.wire import MAX_DEVICES_PER_NODE, PROTOCOL, PersonaliseRequest, report_record

TRAIN_ORDER = "train.order"
QUERY_SYNC = "query.sync"
STATUS_RECORD = "status"
DELIVERY_RECORD = re.compile(r"^delivery-(0|[1-9][0-9]{0,3})$")
MAX_REPORT_ID = 2**62
MAX_DELIVERIES = 200  # in one answer
MAX_ANSWER_BYTES = 512 * 2**10  # as JSON; 200 reports of three kilobytes do not fit, and fewer are then sent
MAX_HOLD_S = 3_600.0

ReportId = Annotated[int, Field(ge=1, le=MAX_REPORT_ID)]
Time = Annotated[int, Field(ge=0, lt=2**40)]
_SIGNATURES: TypeAdapter[dict[str, str]] = TypeAdapter(
    Annotated[dict[KeyId, Annotated[str, Field(max_length=128)]], Field(max_length=MAX_KEYS)]
)


class NodeState(IntEnum):
    """What a node is doing about its order."""

    IDLE = 0  # no order, or it has ended
    WORKING = 1
    OUTSIDE_WINDOW = 2  # waits for its allowed hours
    NO_POWER = 3  # waits for the mains, or a charged battery
    TOO_HOT = 4


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SyncRequest(_Message):
    """Server to node: what has become of my order?

    Attributes:
        digest: a backbone, to learn whether the node holds it; empty asks nothing.
        acknowledged: ids of reports that the server has stored, which the node may forget.
        hold_s: seconds that the node may wait for news before it answers; 0 answers at once.
    """

    protocol: Literal[3] = PROTOCOL
    digest: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    acknowledged: Annotated[list[ReportId], Field(max_length=10_000)] = Field(default_factory=list)
    hold_s: float = Field(0.0, ge=0, le=MAX_HOLD_S)


class OrderRequest(SyncRequest):
    """Server to node: use this release, personalise it on each device, and report.

    The same `rollout` and `attempt` again is the same order: it is not carried out twice.

    Attributes:
        manifest: its canonical JSON.
        signatures: base64 by key id, as JSON.
        rollout: the number of the rollout, which the reports carry.
        attempt: from 1; a higher one does it again.
        valid_s: seconds from its arrival after which the device does not begin it any more.
        settings: the method and its training, as in a plain round, as JSON; its digest is the manifest's.
    """

    manifest: str = Field(max_length=MAX_MANIFEST_BYTES)
    signatures: str = Field(max_length=8_192)
    rollout: Annotated[int, Field(ge=1, lt=2**31)]
    attempt: Annotated[int, Field(ge=1, le=1_000)] = 1
    valid_s: float = Field(86_400.0, gt=0, le=31 * 86_400.0)
    settings: str = Field(max_length=4_096)

    @field_validator("settings")
    @classmethod
    def _known(cls, text: str) -> str:
        PersonaliseRequest.model_validate_json(text)
        return text

    def signature_map(self) -> dict[str, str]:
        """The signatures by key id.

        Raises:
            RequestError: they are not a JSON object of short texts.
        """
        try:
            return _SIGNATURES.validate_json(self.signatures)
        except ValidationError:
            raise RequestError("the signatures are not a JSON object of base64 texts by key id") from None

    def request(self) -> PersonaliseRequest:
        """What to do, as in a plain round."""
        return PersonaliseRequest.model_validate_json(self.settings)


class NodeStatus(_Message):
    """Node to server, numbers only.

    Attributes:
        client: this program's version: 1_000_000 x major + 1_000 x minor + patch.
        holds_backbone: whether the digest that the server named is held.
        version, highest: of the release in use, and the highest seen; 0 is none.
        rollout, attempt: the last order that was accepted; 0 is none.
        state: `NodeState` of that order.
        refused: `ErrorCode` of the order that this answers; 0 where it was accepted, or there was none.
        pending: reports that wait, those of this answer included; dropped: lost because too many waited.
        restarts: of the node's program since it was enrolled.
        clock: seconds since 1970 by the node's clock.
    """

    protocol: Literal[3] = PROTOCOL
    client: Annotated[int, Field(ge=0, lt=2**40)] = 0
    devices: int = Field(0, ge=0, le=MAX_DEVICES_PER_NODE)
    holds_backbone: int = Field(0, ge=0, le=1)
    version: Count = 0
    highest: Count = 0
    rollout: Count = 0
    attempt: Count = 0
    state: Annotated[int, Field(ge=min(NodeState), le=max(NodeState))] = NodeState.IDLE
    refused: int = ErrorCode.NONE
    pending: Count = 0
    dropped: Count = 0
    restarts: Count = 0
    clock: Time = 0

    @field_validator("refused")
    @classmethod
    def _enumerated(cls, refused: int) -> int:
        if refused not in set(ErrorCode):
            raise ValueError("not an error code")
        return refused


class Envelope(_Message):
    """What a report is about.

    Attributes:
        report_id: a random number that names the report for ever.
        rollout, attempt: the order that it answers; 0 for what the device did by itself.
        version: of the release that was used; 0 where there was none.
        made: seconds since 1970 by the node's clock.
    """

    report_id: ReportId
    rollout: Count = 0
    attempt: Count = 0
    version: Count = 0
    made: Time = 0


class Delivery(_Message):
    """A report in its envelope."""

    envelope: Envelope
    report: PersonalisationReport


class Answer(_Message):
    """All that a node says: its status and deliveries."""

    status: NodeStatus
    deliveries: Annotated[tuple[Delivery, ...], Field(max_length=MAX_DELIVERIES)] = ()

    def records(self) -> dict[str, dict[str, Any]]:
        """The answer as records of numbers by name, the only form in which it leaves a node."""
        records: dict[str, dict[str, Any]] = {STATUS_RECORD: self.status.model_dump()}
        for position, delivery in enumerate(self.deliveries):
            records[f"delivery-{position}"] = delivery.envelope.model_dump()
            records[report_record(position)] = delivery.report.model_dump()
        return records


def _delivery(envelope: Mapping[str, Any], report: Mapping[str, Any]) -> Delivery:
    try:
        return Delivery(envelope=Envelope.model_validate(dict(envelope)), report=validate_report(report))
    except ValidationError:
        raise EgressError("not a valid envelope of a report") from None


def parse_answer(records: Mapping[str, Mapping[str, Any]]) -> Answer:
    """The answer that records of numbers are.

    Raises:
        EgressError: anything but one status and complete deliveries numbered from 0. The text holds no value.
    """
    count = sum(bool(DELIVERY_RECORD.match(name)) for name in records)
    expected = {STATUS_RECORD, *(f"delivery-{n}" for n in range(count)), *(report_record(n) for n in range(count))}
    if set(records) != expected or count > MAX_DELIVERIES:
        raise EgressError(f"an answer holds one status and at most {MAX_DELIVERIES} deliveries, and nothing else")
    if len(json.dumps([dict(record) for record in records.values()], default=repr)) > MAX_ANSWER_BYTES:
        raise EgressError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    try:
        status = NodeStatus.model_validate(dict(records[STATUS_RECORD]))
    except ValidationError:
        raise EgressError("not a valid status of a node") from None
    pairs = [(records[f"delivery-{n}"], records[report_record(n)]) for n in range(count)]
    return Answer(status=status, deliveries=tuple(_delivery(envelope, report) for envelope, report in pairs))
