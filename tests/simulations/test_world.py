"""The simulated world as a whole: what it makes of messages, whoever else lives in it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.clock import START_S
from simulations.world.links import transfer
from simulations.world.settings import Link
from simulations.world.visit import Fate, Work
from tests.simulations.worlds import DAY_S, HOUR_S, TRAIN, make_world, visit

WORKS = (Work(1, 50.0, 5.0), Work(2, 80.0, 9.0))
EVERYTHING = {
    "spread": {"memory": 0.2, "compute": 0.2, "speed": 0.3, "power": 0.3},
    "availability": {"kind": "diurnal", "from_hour": 20, "hours": 9, "phase_sd_h": 2, "presence": 0.7},
    "links": {
        "spread": 0.5,
        "classes": {"default": {"down_bps": 1e5, "up_bps": 1e4, "latency_s": 0.3, "loss": 0.05}, "mcu": {"loss": 0.1}},
    },
    "power": {
        "batteries": {"mcu": {"capacity_j": 40, "start": 0.6, "start_spread": 0.4, "charge_w": 0.001, "idle_w": 1e-5}},
        "thermal": {"default": {"hot_after_s": 60, "hot_speed": 0.5}},
    },
    "faults": {"drop_out": 0.1, "crash": 0.1, "slow": 0.2, "byzantine": 0.2},
}


def test_with_nothing_switched_on_an_answer_takes_what_its_slowest_device_takes():
    world, nodes = make_world()
    assert world.online_nodes(START_S) == list(range(len(nodes)))
    assert all(world.online(node, START_S + 1e6) for node in range(len(nodes)))
    assert world.next_change_s(START_S) is None
    assert {world.fate(node, TRAIN, 1) for node in range(len(nodes))} == {Fate.ANSWERS}
    found = visit(world, works=WORKS)
    assert (found.started_s, found.arrived_s, found.cause) == (START_S, START_S + 80, "")
    assert (found.down_bytes, found.up_bytes, found.works) == (1000, 100, WORKS)
    records = {"device-0": {"device": 1, "outcome": 1, "accuracy_after": 0.5}}
    assert world.reply(0, 1, records) == records


def test_a_late_answer_is_still_an_answer():
    world, _ = make_world()
    assert visit(world, works=WORKS, ttl_s=10.0).arrived_s == START_S + 80


def test_a_device_does_one_thing_after_the_other():
    world, _ = make_world()
    visit(world, works=WORKS)
    again = visit(world, works=WORKS[1:], number=2, sent_s=START_S + 10)
    assert again.arrived_s == START_S + 160
    assert visit(world, kind="query.profile", number=2, sent_s=START_S + 11).arrived_s == START_S + 11


def test_works_are_what_devices_report_that_computed():
    world, _ = make_world()
    records = {
        "device-0": {"device": 3, "estimated_s": 10.0, "estimated_j": 4.0, "outcome": 1},
        "device-1": {"device": 4, "estimated_s": 0.0, "estimated_j": 0.0, "outcome": 5},
        "profile": {"devices": 2, "holds_backbone": 1},
    }
    assert world.works(0, records) == (Work(3, 10.0, 4.0),)


def test_devices_have_a_speed_and_a_power_of_their_own():
    world, _ = make_world(spread={"speed": 0.3, "power": 0.3})
    report = {"estimated_s": 10.0, "estimated_j": 20.0}
    works = [world.works(0, {"device-0": report | {"device": d}})[0] for d in range(1, 200)]
    assert len({work.time_s for work in works}) == len({work.energy_j for work in works}) == 199
    assert sorted(work.time_s for work in works)[99] == pytest.approx(10, rel=0.1)
    watts = [work.energy_j / work.time_s for work in works]
    assert sorted(watts)[99] == pytest.approx(2, rel=0.1)
    assert world.works(0, {"device-0": report | {"device": 7}}) == (works[6],)
    faster, _ = make_world(spread={"speed": 0.3})
    (work,) = faster.works(0, {"device-0": report | {"device": 7}})
    assert (work.time_s, work.energy_j / work.time_s) == (works[6].time_s, pytest.approx(2))  # fast, not frugal


def test_a_drop_out_has_taken_the_message_and_a_crash_says_so():
    world, _ = make_world()
    gone, crashed = visit(world, fate=Fate.DROPS_OUT), visit(world, fate=Fate.CRASHES)
    assert (gone.cause, gone.arrived_s, gone.down_bytes, gone.up_bytes) == ("drop_out", None, 1000, 0)
    assert (crashed.cause, crashed.arrived_s) == ("crash", START_S)


def test_a_slow_node_takes_so_many_times_as_long():
    world, _ = make_world(faults={"slow": 1.0, "slow_factor": 7})
    assert visit(world, works=WORKS).arrived_s == START_S + 7 * 80


@given(content=st.integers(0, 10**8), loss=st.floats(0, 0.95), more=st.floats(0, 0.5), bps=st.floats(1, 1e10))
def test_what_is_lost_costs_bytes_and_seconds(content, loss, more, bps):
    link = Link(down_bps=bps, latency_s=0.1, loss=loss)
    worse = Link(down_bps=bps, latency_s=0.1, loss=min(loss + more, 0.95))
    sent, again = transfer(content, bps, link), transfer(content, bps, worse)
    assert content / (1 - loss) <= sent.sent_bytes * (1 + 1e-12) <= again.sent_bytes * (1 + 2e-12)
    assert sent.sent_bytes <= content / (1 - loss) + 1
    assert 0.1 + 8 * content / bps <= sent.time_s * (1 + 1e-12) <= again.time_s * (1 + 2e-12)


def test_a_gateway_has_the_link_of_its_class_and_each_node_its_own_bandwidth():
    classes = {"default": {"down_bps": 8000}, "mcu": {"down_bps": 800}, "pi_4": {"down_bps": 80, "up_bps": 8}}
    world, nodes = make_world(links={"classes": classes})
    taken = {nodes[n].devices[0].profile: visit(world, n).arrived_s - START_S for n in range(len(nodes))}
    assert taken == {"stm32h743": 10.0, "phone": 1.0, "pi_4": 100 + 100}
    spread, _ = make_world(links={"classes": classes, "spread": 0.4})
    own = [spread.down(n, 1000).time_s for n in range(len(nodes)) if nodes[n].devices[0].profile == "phone"]
    assert len(set(own)) == len(own) > 1


def visits_of(devices: int, some: range, numbers: range):
    world, _ = make_world(devices, mix={"esp32s3": 1, "phone": 1}, **EVERYTHING)
    found = []
    for number in numbers:
        for node in some:
            fate = world.fate(node, TRAIN, number)
            sent_s = START_S + number * 5 * HOUR_S
            works = (Work(1000 * node, 120.0, 10.0),) if fate is Fate.ANSWERS else ()
            found.append(visit(world, node, works, number=number, sent_s=sent_s, ttl_s=DAY_S, fate=fate))
    return found


def test_the_same_settings_give_the_same_world():
    assert visits_of(40, range(20), range(1, 4)) == visits_of(40, range(20), range(1, 4))


def test_a_visit_does_not_depend_on_who_else_there_is():
    everybody = visits_of(40, range(20), range(1, 4))
    for node in (0, 7, 19):
        alone = visits_of(40, range(node, node + 1), range(1, 4))
        assert alone == [entry for entry in everybody if entry.node == node]
    assert {"", "drop_out", "crash"} <= {entry.cause for entry in everybody}


@settings(max_examples=60)
@given(
    node=st.integers(0, 11),
    after_s=st.floats(0, 3 * DAY_S),
    ttl_s=st.floats(1, 3 * DAY_S),
    down=st.integers(0, 10**6),
    up=st.integers(0, 10**5),
    work_s=st.floats(0.1, 1e4),
)
def test_nothing_arrives_before_it_can(node, after_s, ttl_s, down, up, work_s):
    world, nodes = make_world(mix={"pi_4": 1}, **EVERYTHING)
    sent_s = START_S + after_s
    work = Work(nodes[node].devices[0].number, work_s, 1.0)
    found = visit(world, node, (work,), sent_s=sent_s, ttl_s=ttl_s, down_bytes=down, up_bytes=up)
    if found.started_s is not None:
        assert sent_s <= found.started_s <= sent_s + ttl_s
        assert world.online(node, found.started_s)
        assert found.down_bytes >= down
    if found.arrived_s is None:
        assert found.cause == "offline"
        return
    least_s = world.down(node, down).time_s + work_s + world.up(node, up).time_s
    assert found.arrived_s >= found.started_s + least_s - 1e-5
    assert found.up_bytes >= up
    assert found.works[0].time_s >= work_s


def test_a_transfer_goes_on_when_the_node_is_back():
    window = {"kind": "diurnal", "from_hour": 1, "hours": 1}
    slow = {"classes": {"default": {"down_bps": 8 * 1000 / 5400}}}  # an hour and a half for 1000 bytes
    world, _ = make_world(availability=window, links=slow)
    assert visit(world, ttl_s=3 * DAY_S).arrived_s == pytest.approx(START_S + DAY_S + 1.5 * HOUR_S)
    cut = visit(world, ttl_s=DAY_S)
    assert (cut.started_s, cut.arrived_s, cut.cause) == (START_S + HOUR_S, None, "offline")
    never = visit(world, ttl_s=HOUR_S / 2)
    assert (never.started_s, never.cause, never.down_bytes) == (None, "offline", 0)


def test_who_computes_while_away_reports_when_back():
    world, _ = make_world(availability={"kind": "diurnal", "from_hour": 1, "hours": 1})
    works = (Work(1, 2 * HOUR_S, 1.0),)
    assert visit(world, works=works, ttl_s=2 * DAY_S).arrived_s == START_S + DAY_S + HOUR_S
