"""What passes between server and device, defined once, as plain numbers and names without a transport.

`query.profile`: the server names the backbone it is about to use; the node answers in numbers how many
devices it hosts and whether it holds that backbone. `train.personalise`: the server sends a request and, to
nodes that lack it, the backbone as one array of bytes; the node answers with one report for each device.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinytrain_core.engine.defaults import LEARNING_RATE, MAX_VIEWS, OPTIMISER, PRECISION, STEPS, VIEWS
from tinytrain_core.errors import EgressError, RequestError
from tinytrain_core.report import PersonalisationReport, validate_report

PROTOCOL: Literal[3] = 3
QUERY_PROFILE = "query.profile"
TRAIN_PERSONALISE = "train.personalise"
REQUEST_RECORD = "request"
BACKBONE_RECORD = "backbone"
BACKBONE_ARRAY = "file"
PROFILE_RECORD = "profile"
REPORT_RECORD = re.compile(r"^device-(0|[1-9][0-9]{0,3})$")
MAX_DEVICES_PER_NODE = 1000
METHOD_PATTERN = r"^[a-z0-9_]{1,32}(:[a-z0-9_.=,+]{1,500})?$"  # a name, and options

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    protocol: Literal[3] = PROTOCOL


RequestType = TypeVar("RequestType", bound=_Message)


class ProfileRequest(_Message):
    """Server to node: what are you, and do you hold this backbone?"""

    digest: Digest


class NodeProfile(_Message):
    """Node to server, numbers only."""

    devices: int = Field(ge=0, le=MAX_DEVICES_PER_NODE)
    holds_backbone: int = Field(ge=0, le=1)


class PersonaliseRequest(_Message):
    """Server to node: personalise this backbone on each of your devices."""

    digest: Digest
    round: int = Field(0, ge=0, lt=2**31)
    seed: int = Field(0, ge=0, lt=2**31)
    method: str = Field("tinytrain", pattern=METHOD_PATTERN)
    steps: int = Field(STEPS, ge=0, le=10_000)
    learning_rate: float = Field(LEARNING_RATE, gt=0, le=1)
    optimiser: str = Field(OPTIMISER, pattern=r"^[a-z0-9_]{1,32}$")
    views: int = Field(VIEWS, ge=0, le=MAX_VIEWS)
    precision: str = Field(PRECISION, pattern=r"^[a-z0-9_]{1,32}$")


# What a server's settings and a request have in common.
REQUESTED = tuple(name for name in PersonaliseRequest.model_fields if name not in ("protocol", "digest", "round"))


def parse_request(model: type[RequestType], fields: Mapping[str, Any]) -> RequestType:
    """The request that `fields` is.

    Raises:
        RequestError: it is not one of this protocol version.
    """
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        wrong = sorted({str(detail["loc"][0]) if detail["loc"] else "?" for detail in error.errors()})
        raise RequestError(f"not a {model.__name__} of protocol {PROTOCOL}: {', '.join(wrong)}") from None


def report_record(position: int) -> str:
    """The name of the record with the report of a node's device at `position`."""
    return f"device-{position}"


def validate_metrics(records: Mapping[str, Mapping[str, Any]]) -> list[PersonalisationReport] | NodeProfile:
    """What a reply's numbers are: a node's profile, or one report for each of its devices in their order.

    Raises:
        EgressError: they are neither.
    """
    if set(records) == {PROFILE_RECORD}:
        try:
            return NodeProfile.model_validate(dict(records[PROFILE_RECORD]))
        except ValidationError:
            raise EgressError("not a valid node profile") from None
    if not records or not all(REPORT_RECORD.match(name) for name in records):
        raise EgressError("a reply holds one profile, or reports named device-N, and nothing else")
    ordered = sorted(records, key=lambda name: int(name.partition("-")[2]))
    if ordered != [report_record(position) for position in range(len(records))]:
        raise EgressError("the reports of a reply are numbered from 0 without gaps")
    return [validate_report(records[name]) for name in ordered]
