from itertools import permutations
from typing import Any

import pytest

from server.exchange import Cause, Exchange, Missing
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import PersonalisationReport, failure
from tinytrain_core.wire import NodeProfile, report_record

Reports = list[PersonalisationReport]


def records(*devices: int, **changes: Any) -> dict[str, dict[str, Any]]:
    found = [failure(ErrorCode.NO_IMAGES, device).model_dump() | changes for device in devices]
    return {report_record(position): fields for position, fields in enumerate(found)}


def three_out() -> Exchange[Reports]:
    exchange: Exchange[Reports] = Exchange(list, deadline_s=10)
    for position, node in enumerate((30, 10, 20)):
        exchange.sent(f"m{node}", node, now_s=position)
    return exchange


def test_the_order_of_arrival_leaves_no_trace() -> None:
    seen = set()
    for order in permutations((10, 20, 30)):
        exchange = three_out()
        for node in order:
            exchange.receive(f"m{node}", records(node))
        assert not exchange.outstanding
        seen.add(repr(list(exchange.answers.items())))
        assert list(exchange.answers) == [10, 20, 30]
    assert len(seen) == 1


def test_each_message_has_its_own_deadline() -> None:
    exchange = three_out()
    exchange.expire(now_s=9.9)
    assert exchange.missing == ()
    exchange.expire(now_s=11)
    assert exchange.missing == (Missing(10, Cause.LATE), Missing(30, Cause.LATE))
    assert list(exchange.outstanding) == ["m20"]
    assert exchange.receive("m20", records(1)) is not None
    assert list(exchange.answers) == [20]


def test_what_comes_too_late_or_twice_or_unasked_changes_nothing() -> None:
    exchange = three_out()
    exchange.expire(now_s=10)
    assert exchange.receive("m30", records(1)) is None
    assert exchange.receive("m10", records(1)) is not None
    assert exchange.receive("m10", records(2)) is None
    assert exchange.receive("never sent", records(3)) is None
    assert [r.device for r in exchange.answers[10]] == [1]
    assert exchange.missing == (Missing(30, Cause.LATE),)


def test_failures_and_refusals_are_told_apart() -> None:
    exchange = three_out()
    exchange.unsent(40)
    exchange.receive("m10", None)
    exchange.receive("m20", records(1, accuracy_after=1.5))
    exchange.receive("m30", records(1))
    assert exchange.missing == (Missing(10, Cause.FAILED), Missing(20, Cause.REFUSED), Missing(40, Cause.FAILED))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        records(1, accuracy_before=float("nan")),
        records(1, more=1),
        {"device-1": records(1)["device-0"]},
        {"profile": NodeProfile(devices=1, holds_backbone=1).model_dump()},
    ],
)
def test_invalid_answers_are_refused(wrong: dict[str, dict[str, Any]]) -> None:
    exchange = three_out()
    assert exchange.receive("m10", wrong) is None
    assert exchange.missing == (Missing(10, Cause.REFUSED),)


def test_an_exchange_of_profiles_refuses_reports() -> None:
    exchange = Exchange(NodeProfile, deadline_s=1)
    exchange.sent("a", 1, 0)
    exchange.sent("b", 2, 0)
    exchange.receive("a", {"profile": NodeProfile(devices=3, holds_backbone=0).model_dump()})
    exchange.receive("b", records(1))
    assert exchange.answers == {1: NodeProfile(devices=3, holds_backbone=0)}
    assert exchange.missing == (Missing(2, Cause.REFUSED),)
