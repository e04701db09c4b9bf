"""What comes back from a node: validated, stored, and told to the rollout and to the conversation with the node."""

import sqlite3
from collections.abc import Collection

from server.fleet.arrivals import acknowledged, receive, refuse
from server.fleet.conversation import Talk
from server.fleet.courier import Reply, Times
from server.fleet.nodes import Node
from server.fleet.rollout import events
from server.fleet.rollout.progress import code_name
from server.fleet.rollout.state import RolloutState
from tinytrain_core.errors import EgressError, ErrorCode
from tinytrain_core.orders import Answer, parse_answer


def take(
    connection: sqlite3.Connection,
    rollout: RolloutState | None,
    node: Node,
    talk: Talk,
    reply: Reply,
    times: Times,
    withdrawn: Collection[int] = (),
) -> RolloutState | None:
    """Take a reply in, within a transaction of the caller; the rollout as it is then.

    Args:
        withdrawn: the versions of releases that are not to be used again.
    """
    if reply.records is None:
        talk.lost(times.steady_s)
        return rollout and events.unreachable(rollout, node.name)
    try:
        answer = parse_answer(reply.records)
    except EgressError as error:
        talk.lost(times.steady_s)
        number = rollout.number if rollout else 0
        refuse(connection, node.name, ErrorCode.EGRESS, str(error), times.now_s, number)
        return rollout and events.invalid(rollout, node.name, times.now_s)
    acknowledged(connection, node.name, reply.sent.acknowledged, times.now_s)
    received = receive(connection, node, answer, rollout, times.now_s, withdrawn)
    news = received.stored + len(set(received.refused) - set(reply.sent.acknowledged))
    talk.answered(answer.status, news, times.steady_s)
    talk.unwanted = received.refused
    if rollout is None:
        return None
    rollout = events.reported(rollout, node.name, received.figures)
    return _told(connection, rollout, node.name, answer, reply.sent.attempt, times.now_s)


def _told(
    connection: sqlite3.Connection, rollout: RolloutState, name: str, answer: Answer, attempt: int, now_s: float
) -> RolloutState:
    """The rollout is told what a node says of its order; `attempt` is that of the order which this answers, or 0."""
    status = answer.status
    if attempt and status.refused:
        reason = f"it refused attempt {attempt}: {code_name(status.refused)}"
        refuse(connection, name, status.refused, reason, now_s, rollout.number)
    place = rollout.nodes.get(name)
    to_order = attempt > 0 and place is not None and place.attempt == attempt
    return events.heard(rollout, name, status, len(answer.deliveries), to_order, now_s)
