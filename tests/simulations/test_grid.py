import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from server.app import TTL_GRACE_S
from simulations.clock import START_S
from simulations.executors.executor import Done
from simulations.records import count_bytes
from simulations.world.visit import Fate, Work
from tests.simulations.apps import ADD, COUNT, FAIL, FORGET, NOTHING, answers, make_fleet, pulled

pytestmark = pytest.mark.usefixtures("flower_identity")


def model(*values: float) -> ArrayRecord:
    return ArrayRecord({"w": Array(np.array(values, dtype=np.float32)), "b": Array(np.zeros((0, 2), dtype=np.int8))})


def test_answers_arrive_when_their_time_has_come() -> None:
    fleet = make_fleet(3, delays={0: 30.0, 1: 10.0, 2: 20.0})
    ids = fleet.push(1, 2, 3)
    assert list(fleet.grid.pull_messages(ids)) == []
    seen = []
    for _ in range(3):
        fleet.clock.sleep(0.05)
        seen += [(fleet.clock.monotonic_s(), *answer) for answer in answers(fleet.grid.pull_messages(ids))]
    assert seen == [(10.0, 2, 11, 1), (20.0, 3, 12, 1), (30.0, 1, 10, 1)]
    assert list(fleet.grid.pull_messages(ids)) == []


def test_an_answer_is_a_message_of_flower_about_the_one_that_was_sent() -> None:
    fleet = make_fleet(1)
    ids = fleet.push(1)
    (reply,) = pulled(fleet, ids)
    metadata = reply.metadata
    assert (metadata.reply_to_message_id, metadata.src_node_id, metadata.dst_node_id) == (ids[0], 1, 1)
    assert (metadata.message_type, metadata.group_id, metadata.ttl) == (COUNT, "7", 100.0)


def test_only_who_was_asked_for_is_pulled() -> None:
    fleet = make_fleet(2)
    first, second = fleet.push(1, 2)
    fleet.clock.sleep(5.0)
    assert [reply.metadata.src_node_id for reply in fleet.grid.pull_messages([second])] == [2]
    assert [reply.metadata.src_node_id for reply in fleet.grid.pull_messages({first: None}.keys())] == [1]


def test_each_node_keeps_what_its_app_keeps() -> None:
    fleet = make_fleet(2)
    assert answers(pulled(fleet, fleet.push(1, 2))) == [(1, 10, 1), (2, 11, 1)]
    assert answers(pulled(fleet, fleet.push(2))) == [(2, 11, 2)]
    assert answers(pulled(fleet, fleet.push(1, 2))) == [(1, 10, 2), (2, 11, 3)]


def test_what_an_app_has_forgotten_is_gone_and_what_one_kept_that_failed_is_not() -> None:
    fleet = make_fleet(1)
    for kind in (COUNT, FAIL):
        pulled(fleet, fleet.push(1, kind=kind))
    assert answers(pulled(fleet, fleet.push(1))) == [(1, 10, 2)]
    pulled(fleet, fleet.push(1, kind=FORGET))
    assert answers(pulled(fleet, fleet.push(1))) == [(1, 10, 1)]


def test_a_node_that_no_message_reaches_computes_nothing() -> None:
    fleet = make_fleet(2, gone={0})
    fleet.push(1, 2, kind=FAIL)
    fleet.clock.sleep(1.0)
    assert [job.argument[1] for job in fleet.executor.computed] == [2]
    assert [visit.cause for visit in fleet.visits] == ["offline", "exception: ValueError"]
    assert [told[:2] for told in fleet.told] == [(0, FAIL), (1, FAIL)]


def test_what_never_arrived_is_the_worlds_doing_not_the_apps() -> None:
    fleet = make_fleet(1, delays={0: None})
    fleet.push(1, kind=FAIL)
    fleet.clock.sleep(1.0)
    assert [visit.cause for visit in fleet.visits] == [Fate.ANSWERS.value]  # as the script says


def test_a_node_takes_one_message_after_the_other() -> None:
    fleet = make_fleet(2)
    assert answers(pulled(fleet, fleet.push(1, 1, 2, 1))) == [(1, 10, 1), (1, 10, 2), (2, 11, 1), (1, 10, 3)]
    assert [(visit.node, visit.number) for visit in fleet.visits] == [(0, 1), (0, 2), (0, 3), (1, 1)]


def test_the_world_is_asked_in_the_order_of_time_and_node_not_of_the_workers() -> None:
    fleet = make_fleet(5)
    fleet.push(5, 4, 3, 2, 1)
    fleet.clock.sleep(50.0)
    fleet.push(3, 1)
    fleet.clock.sleep(0.0)
    assert [job.argument[1] for job in fleet.executor.computed[:5]] != [1, 2, 3, 4, 5]
    later_s = START_S + 50.0
    first = [(START_S, node, 1) for node in range(5)]
    assert fleet.world.called == [*first, (later_s, 0, 2), (later_s, 2, 2)]
    assert [(visit.sent_s, visit.node, visit.number) for visit in fleet.visits] == fleet.world.called


def test_the_account_has_works_and_bytes() -> None:
    fleet = make_fleet(1)
    content = RecordDict({"request": ConfigRecord({"name": "abc", "flags": [True, False], "x": 1.5, "raw": b"12"})})
    pulled(fleet, fleet.push(1, content=content))
    (visit,) = fleet.visits
    reply = RecordDict({"answer": MetricRecord({"node": 1, "device": 10, "messages": 1})})
    assert visit.down_bytes == content["request"].count_bytes()
    assert visit.up_bytes == reply["answer"].count_bytes()
    assert visit.works == (Work(10, 1.0, 2.0),)
    assert visit.cause == ""


def test_sizes_are_those_that_flower_counts_and_of_what_it_cannot_count_too() -> None:
    arrays = model(1.0, 2.0)
    assert count_bytes(RecordDict({"model": arrays})) == arrays.count_bytes()
    metrics = MetricRecord({"list": [1, 2, 3], "none": [], "x": 0.5})
    assert count_bytes(RecordDict({"m": metrics})) == metrics.count_bytes()
    assert count_bytes(RecordDict({"c": ConfigRecord({"empty": "", "list": ["a", "bcd"]})})) == len("emptylist") + 4


@pytest.mark.parametrize(("fate", "cause", "code"), [(Fate.DROPS_OUT, "drop-out", None), (Fate.CRASHES, "crash", 8)])
def test_who_never_answers_computes_nothing(fate: Fate, cause: str, code: int | None) -> None:
    fleet = make_fleet(2, fates={0: fate})
    ids = fleet.push(1, 2)
    fleet.clock.sleep(1.0)
    replies = {reply.metadata.src_node_id: reply for reply in fleet.grid.pull_messages(ids)}
    assert [job.argument[1] for job in fleet.executor.computed] == [2]
    assert replies[2].has_content()
    assert (replies[1].error.code if code else replies.get(1)) == code
    assert [visit.cause for visit in fleet.visits] == [cause, ""]
    assert [(node, records is None) for node, _, records in fleet.told] == [(0, True), (1, False)]


def test_the_clock_stops_where_a_deadline_passes() -> None:
    fleet = make_fleet(2, delays={0: None, 1: 70.0}, changes_s=START_S + 5.0)
    fleet.push(1, 2, ttl=50.0 + TTL_GRACE_S)
    fleet.clock.sleep(0.05)
    assert fleet.clock.monotonic_s() == pytest.approx(50.0, abs=1e-5)
    fleet.clock.sleep(0.05)
    assert fleet.clock.monotonic_s() == 70.0


@pytest.mark.parametrize("deadline_s", [0.1, 33.3, 77.7, 1234.56])
def test_where_the_clock_stops_for_a_deadline_it_has_passed(deadline_s: float) -> None:
    for offset_s in (0.0, 0.3, 1e5 / 3, 2e5 / 7):
        fleet = make_fleet(1, delays={0: None})
        fleet.clock.sleep(offset_s)
        sent_s = fleet.clock.monotonic_s()
        fleet.push(1, ttl=deadline_s + TTL_GRACE_S)
        fleet.clock.sleep(0.0)
        assert sent_s + deadline_s <= fleet.clock.monotonic_s() < sent_s + deadline_s + 0.001


def test_with_nothing_out_and_nobody_there_the_clock_stops_where_nodes_come() -> None:
    fleet = make_fleet(3, changes_s=START_S + 5.0, away={0, 1, 2})
    fleet.clock.sleep(0.5)
    assert fleet.clock.monotonic_s() == 5.0


def test_with_nothing_out_and_somebody_there_nobody_waits_longer_than_asked() -> None:
    fleet = make_fleet(3, changes_s=START_S + 5.0, away={1})
    assert list(fleet.grid.get_node_ids()) == [1, 3]
    fleet.clock.sleep(0.5)
    assert fleet.clock.monotonic_s() == 0.5


def test_a_node_that_does_not_exist_gets_nothing() -> None:
    fleet = make_fleet(2)
    assert len(fleet.push(0, 1, 3)) == 1
    fleet.clock.sleep(5.0)
    assert [visit.node for visit in fleet.visits] == [0]


@pytest.mark.parametrize(
    ("kind", "name"), [(FAIL, "ValueError"), (NOTHING, "FleetError"), ("query.other", "ValueError")]
)
def test_an_exception_is_an_error_without_its_text(kind: str, name: str) -> None:
    fleet = make_fleet(1)
    (reply,) = pulled(fleet, fleet.push(1, kind=kind))
    assert not reply.has_content()
    assert (reply.error.code, reply.error.reason) == (2, f"exception: {name}")
    assert fleet.visits[0].cause == f"exception: {name}"


def test_a_dead_worker_is_an_error_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = make_fleet(1)
    ids = fleet.push(1)
    job = fleet.executor._waiting.pop()
    found = [[Done(job.number, died="exit code 9")]]
    monkeypatch.setattr(type(fleet.executor), "outstanding", property(lambda _: len(found)))
    monkeypatch.setattr(fleet.executor, "done", found.pop)
    fleet.clock.sleep(5.0)
    (reply,) = fleet.grid.pull_messages(ids)
    assert reply.error.code == 8
    assert fleet.visits[0].cause == "worker died: exit code 9"


def test_arrays_are_published_once_and_freed_and_come_back() -> None:
    fleet = make_fleet(3)
    record = model(1.0, 2.0)
    content = RecordDict({"model": record})
    other = RecordDict({"model": record, "request": ConfigRecord({"a": 2})})
    ids = fleet.push(1, 2, kind=ADD, content=content) + fleet.push(3, kind=ADD, content=other)
    assert fleet.executor.held == {record.object_id}
    replies = pulled(fleet, ids)
    assert fleet.executor.published == [record.object_id]
    assert fleet.executor.held == set()
    sums = [reply.content.array_records["sum"]["w"].numpy() for reply in replies]
    assert [list(values) for values in sums] == [[2.0, 3.0], [3.0, 4.0], [4.0, 5.0]]
    assert sums[0].dtype == np.float32
    assert replies[0].content.array_records["sum"]["b"].shape == (0, 2)
    assert replies[0].content.metric_records["n"]["examples"] == 3
    assert [list(reply.content.array_records["sum"]) for reply in replies] == 3 * [["w", "b"]]
    assert fleet.visits[0].down_bytes == record.count_bytes()


def test_a_liar_answers_what_it_likes_and_works_as_it_did() -> None:
    fleet = make_fleet(1, lie=100)
    (reply,) = pulled(fleet, fleet.push(1))
    assert answers([reply]) == [(101, 110, 101)]
    assert fleet.visits[0].works == (Work(10, 1.0, 2.0),)


def test_numbers_keep_their_types() -> None:
    fleet = make_fleet(2)
    for value in (1, 1.0, True):
        pulled(fleet, fleet.push(1, content=RecordDict({"request": ConfigRecord({"a": value})})))
    sent = [job.argument[8]["request"][1]["a"] for job in fleet.executor.computed]
    assert list(map(repr, sent)) == ["1", "1.0", "True"]


def test_send_and_receive_waits_for_its_time_only() -> None:
    fleet = make_fleet(3, delays={0: 10.0, 1: 20.0, 2: None})

    def ask(timeout: float | None) -> list[int]:
        messages = [Message(RecordDict(), node, COUNT, ttl=1000.0) for node in (1, 2, 3)]
        return [reply.metadata.src_node_id for reply in fleet.grid.send_and_receive(messages, timeout=timeout)]

    assert ask(15.0) == [1]
    assert fleet.clock.monotonic_s() == 15.0
    assert ask(None) == [1, 2]
    assert fleet.clock.monotonic_s() == 35.0


def test_send_and_receive_waits_for_one_that_never_answers_and_for_nobody_else() -> None:
    fleet = make_fleet(2, delays={0: 10.0, 1: None})

    def ask(*nodes: int) -> int:
        messages = [Message(RecordDict(), node, COUNT, ttl=1000.0) for node in nodes]
        return len(list(fleet.grid.send_and_receive(messages, timeout=300.0)))

    assert ask(1) == 1
    assert fleet.clock.monotonic_s() == 10.0
    fleet.clock.sleep(0.0)
    assert fleet.clock.monotonic_s() == 10.0, "a time at which nobody waits any more"
    assert ask(1, 2) == 1
    assert fleet.clock.monotonic_s() == 310.0
