"""A server's message as a question that is answered at once or held open: what it asks is done, its answer may wait."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from client.agent.respondent import Respondent
from client.connection.messages import Incoming
from tinytrain_core.configuration import problems
from tinytrain_core.errors import ErrorCode, RequestError
from tinytrain_core.orders import QUERY_SYNC, TRAIN_ORDER, OrderRequest, SyncRequest

log = logging.getLogger(__name__)

Request = TypeVar("Request", bound=SyncRequest)

TTL_MARGIN_S = 10.0


@dataclass(frozen=True)
class Question:
    """A message that waits for its answer: until `until` by the monotonic clock.

    Attributes:
        failures: answers that the server did not take; again: when the next is tried.
    """

    incoming: Incoming
    digest: str
    refused: ErrorCode
    until: float
    failures: int = 0
    again: float = 0.0


def _request(model: type[Request], fields: Mapping[str, Any]) -> Request:
    """The request that a message's fields are.

    Raises:
        RequestError: they are not one.
    """
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise RequestError(f"not a {model.__name__}: {problems(error, most=5)}") from None


def taken(agent: Respondent, incoming: Incoming) -> Question:
    """What a message has done, and until when its answer may wait."""
    now = time.monotonic()
    try:
        if incoming.fields is None:
            why = incoming.problem or "it is not for this node"
            raise RequestError(f"a message of type {incoming.kind!r:.80} is not taken: {why}")
        request: SyncRequest
        if incoming.kind == TRAIN_ORDER:
            request = order = _request(OrderRequest, incoming.fields)
            refused = agent.order(order, incoming.backbone, time.time())
        elif incoming.kind == QUERY_SYNC:
            request = _request(SyncRequest, incoming.fields)
            refused = agent.sync(request)
        else:
            raise RequestError(f"a message of type {incoming.kind!r:.80} is not for this node")
    except RequestError as error:
        log.error("a message is refused: %s", error)
        return Question(incoming, "", error.code, now)
    patience = incoming.expires_s - TTL_MARGIN_S - time.time()
    hold_s = 0.0 if refused else min(request.hold_s, patience)
    kept = replace(incoming, backbone=None)  # megabytes that are in the store by now
    return Question(kept, request.digest or _digest_of(request), refused, now + hold_s)


def _digest_of(request: SyncRequest) -> str:
    return request.request().digest if isinstance(request, OrderRequest) else ""
