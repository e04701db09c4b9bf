"""When nodes can be reached: always, by day and night, or as a file says."""

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.clock import START_S
from simulations.world.availability import next_online_s, presence
from simulations.world.settings import Availability
from simulations.world.traces import Trace
from tests.simulations.worlds import DAY_S, HOUR_S
from tinytrain_core.errors import ConfigurationError

NODES = 30


def diurnal(seed=0, nodes=NODES, **fields):
    return presence(Availability(kind="diurnal", **fields), seed, nodes)


def traced(folder: Path, rows, period_s=1000, nodes=NODES):
    file = folder / "stays.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("node", "start_s", "end_s"), *rows])
    return presence(Availability(kind="trace", file=str(file), period_s=period_s), 0, nodes)


def moment_s(at_s: float, change_s: float, share: float) -> float:
    """A time on the way to a change, and before it even where the two are all but one."""
    return min(at_s + share * (change_s - at_s), math.nextafter(change_s, 0))


def check_laws(who, at_s: float, nodes: int) -> None:
    """The list is what each node says, and nothing changes before the next change."""
    there = who.online_nodes(at_s)
    assert there == [node for node in range(nodes) if who.online(node, at_s)]
    change_s = who.next_change_s(at_s)
    if change_s is None:
        return
    assert change_s > at_s
    for share in (0.3, 0.999):
        assert who.online_nodes(moment_s(at_s, change_s, share)) == there
    for node in range(nodes):
        own_s = who.next_change_of_s(node, at_s)
        assert own_s is None or own_s >= change_s
        assert own_s is None or who.online(node, moment_s(at_s, own_s, 0.999)) == (node in there)


@settings(max_examples=60)
@given(
    at_s=st.floats(0, 20 * DAY_S) | st.integers(0, 20 * 1440).map(lambda minute: 60.0 * minute),
    from_hour=st.floats(0, 23.9),
    hours=st.floats(0, 24),
    phase_sd_h=st.floats(0, 24),
    share=st.floats(0, 1),
)
def test_presence_is_constant_between_changes(at_s, from_hour, hours, phase_sd_h, share):
    who = diurnal(from_hour=from_hour, hours=hours, phase_sd_h=phase_sd_h, presence=share)
    check_laws(who, START_S + at_s, NODES)


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 99), st.integers(1, 60)), min_size=1, max_size=20),
    at_s=st.floats(0, 500) | st.integers(0, 500).map(float),
)
def test_a_trace_too(tmp_path_factory, rows, at_s):
    stays = [(node, start, min(start + length, 100)) for node, start, length in rows if start < 100]
    who = traced(tmp_path_factory.mktemp("trace"), stays, period_s=100, nodes=9)
    check_laws(who, START_S + at_s, 9)
    into_s, patterns = (START_S + at_s - START_S) % 100, max(node for node, *_ in stays) + 1
    expected = {node for node, start, end in stays if start <= into_s < end}
    assert who.online_nodes(START_S + at_s) == [node for node in range(9) if node % patterns in expected]


def test_a_window_comes_each_day_and_reaches_over_midnight():
    who = diurnal(from_hour=22, hours=4)
    hours = [hour for hour in range(48) if who.online(3, START_S + hour * HOUR_S)]
    assert hours == [0, 1, 22, 23, 24, 25, 46, 47]
    assert who.next_change_s(START_S) == START_S + 2 * HOUR_S
    assert who.next_change_s(START_S + 2 * HOUR_S) == START_S + 22 * HOUR_S


def test_all_day_is_always_and_no_hours_are_never():
    whole, never = diurnal(hours=24, phase_sd_h=3), diurnal(hours=0)
    assert all(len(whole.online_nodes(START_S + 1234.5 * k)) == NODES for k in range(200))
    assert not any(never.online_nodes(START_S + 1234.5 * k) for k in range(200))


def test_nodes_have_hours_and_days_of_their_own():
    who = diurnal(nodes=2000, from_hour=12, hours=6, phase_sd_h=1.5, presence=0.8)
    noon = [len(who.online_nodes(START_S + day * DAY_S + 15 * HOUR_S)) / 2000 for day in range(4)]
    assert all(0.7 < share < 0.85 for share in noon)
    first, second = (set(who.online_nodes(START_S + day * DAY_S + 15 * HOUR_S)) for day in (0, 1))
    assert first != second
    edge = len(who.online_nodes(START_S + 12 * HOUR_S)) / 2000
    assert 0.3 < edge < 0.5  # half of them begin before noon, and four in five are there today


def test_a_node_keeps_its_hours_in_a_larger_fleet():
    few, many = (diurnal(nodes=n, phase_sd_h=4, presence=0.6) for n in (10, 5000))
    for hour in range(60):
        at_s = START_S + hour * HOUR_S
        assert few.online_nodes(at_s) == [node for node in many.online_nodes(at_s) if node < 10]


def test_another_seed_is_another_town():
    at_s = START_S + 23 * HOUR_S
    assert diurnal(0, 200, presence=0.5).online_nodes(at_s) != diurnal(1, 200, presence=0.5).online_nodes(at_s)


def test_the_next_time_a_node_is_there():
    who = diurnal(from_hour=6, hours=1)
    assert next_online_s(who, 0, START_S, START_S + DAY_S) == START_S + 6 * HOUR_S
    assert next_online_s(who, 0, START_S + 6.5 * HOUR_S, START_S + DAY_S) == START_S + 6.5 * HOUR_S
    assert next_online_s(who, 0, START_S + 7 * HOUR_S, START_S + DAY_S) is None
    assert next_online_s(diurnal(presence=0), 0, START_S, START_S + 30 * DAY_S) is None


def test_stays_that_touch_are_one():
    trace = Trace([(0, 0, 50), (0, 10, 20), (0, 50, 60), (2, 5, 6)])
    assert trace.changes_of_s(0) == [0, 60]
    assert [trace.is_there(0, t) for t in (0, 30, 59, 60)] == [True, True, True, False]
    assert trace.patterns == 3
    assert not trace.who_is_there(5.5)[1]  # of whom the file says nothing


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("node,from,to\n0,0,1\n", r"line 1: the header is 'node,from,to'; expected node,start_s,end_s"),
        ("", r"line 1: the header is ''"),
        ("node,start_s,end_s\n", r"holds no stay"),
        ("node,start_s,end_s\n0,0,5\n0,5\n", r"line 3: '0,5' is not a node's number and two times"),
        ("node,start_s,end_s\n0,0,5\n\nx,5,6\n", r"line 4: 'x,5,6'"),
        ("node,start_s,end_s\n0,nan,5\n", r"line 2: '0,nan,5'"),
        ("node,start_s,end_s\n0,0,inf\n", r"line 2: '0,0,inf'"),
        ("node,start_s,end_s\n-1,0,5\n", r"line 2: node -1"),
        ("node,start_s,end_s\n0,7,7\n", r"line 2: a stay from 7 to 7 s"),
        ("node,start_s,end_s\n0,-3,7\n", r"line 2: a stay from -3 to 7 s"),
        ("node,start_s,end_s\n0,0,101\n", r"line 2: a stay from 0 to 101 s.*period_s, 100 s"),
        ("node,start_s,end_s\n0,0,5,9\n", r"line 2: 4 values"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, words):
    file = tmp_path / "stays.csv"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        presence(Availability(kind="trace", file=str(file), period_s=100), 0, 5)


def test_a_trace_of_a_spreadsheet_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "stays.csv").write_text("node,start_s,end_s\n0,0,5\n", encoding="utf-8-sig")
    who = presence(Availability(kind="trace", file=str(tmp_path / "stays.csv"), period_s=100), 0, 5)
    assert who.online_nodes(START_S) == [0, 1, 2, 3, 4]


def test_a_trace_that_cannot_be_read_is_named(tmp_path):
    for name, data in (("none.csv", None), ("latin.csv", b"node,start_s,end_s\n\xff,1,2\n")):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigurationError, match=rf"{name} cannot be read"):
            presence(Availability(kind="trace", file=str(tmp_path / name)), 0, 5)


def test_a_trace_of_nobody_of_the_fleet_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "stays.csv"
    file.write_text("node,start_s,end_s\n7,0,100\n")
    settings = Availability(kind="trace", file=str(file))
    with pytest.raises(ConfigurationError, match="stays of node 7 and later ones; this fleet's nodes are 0 to 6"):
        presence(settings, 0, nodes=7)
    assert presence(settings, 0, nodes=8).online(7, START_S)
