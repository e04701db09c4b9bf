"""Batteries that drain and charge, and devices that get hot."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.clock import START_S
from simulations.world.power import charge_at, charged_s, computing, cooled
from simulations.world.settings import Battery, Thermal
from simulations.world.visit import Work
from tests.simulations.worlds import DAY_S, HOUR_S, make_world, visit

BATTERIES = st.builds(
    Battery,
    capacity_j=st.floats(1, 1e5),
    start=st.floats(0, 1),
    reserve=st.floats(0, 0.9),
    charge_w=st.just(0.0) | st.floats(1e-3, 50),
    charge_from_hour=st.floats(0, 23.9),
    charge_hours=st.floats(0, 24),
    idle_w=st.just(0.0) | st.floats(1e-3, 5),
)
SPANS = st.floats(0, 4 * DAY_S)


@given(battery=BATTERIES, share=st.floats(0, 1), begins=SPANS, first=SPANS, then=SPANS)
def test_a_battery_is_between_empty_and_full_and_waiting_twice_is_waiting_once(battery, share, begins, first, then):
    charge_j, from_s = share * battery.capacity_j, START_S + begins
    between_j = charge_at(battery, charge_j, from_s, from_s + first)
    after_j = charge_at(battery, between_j, from_s + first, from_s + first + then)
    assert 0 <= after_j <= battery.capacity_j
    once_j = charge_at(battery, charge_j, from_s, from_s + first + then)
    assert after_j == pytest.approx(once_j, abs=1e-6 * battery.capacity_j + 1e-4)


@given(battery=BATTERIES, share=st.floats(0, 1), begins=SPANS, wait=SPANS, need=st.floats(0, 1.2))
def test_charged_is_when_there_is_enough_and_not_before(battery, share, begins, wait, need):
    charge_j, from_s, needed_j = share * battery.capacity_j, START_S + begins, need * battery.capacity_j
    at_s = charged_s(battery, charge_j, from_s, needed_j, from_s + wait)
    slack_j = 1e-6 * battery.capacity_j + 1e-4
    if at_s is not None:
        assert from_s <= at_s <= from_s + wait
        assert charge_at(battery, charge_j, from_s, at_s) >= needed_j - slack_j
    until_s = from_s + wait if at_s is None else at_s
    for part in (0.2, 0.6, 0.99):
        assert charge_at(battery, charge_j, from_s, from_s + part * (until_s - from_s)) <= max(
            needed_j + slack_j, charge_j
        )


def test_charging_hours_are_of_each_day():
    battery = Battery(capacity_j=200_000, charge_w=2.0, charge_from_hour=22, charge_hours=4, idle_w=1.0)
    charge_j = charge_at(battery, 100_000, START_S, START_S + DAY_S)
    assert charge_j == pytest.approx(100_000 + 4 * 3600 - 20 * 3600)  # two hours after midnight, two before


@given(heat=st.floats(0, 100), work=st.floats(0, 1e4), speed=st.floats(0.1, 1), idle=st.floats(0, 1e4))
def test_a_hot_device_is_slower_and_never_than_its_hot_speed(heat, work, speed, idle):
    thermal = Thermal(hot_after_s=100, hot_speed=speed, recovery_s=50)
    took_s, after_s = computing(thermal, heat, work)
    assert work - 1e-9 <= took_s <= work / speed + 1e-9
    assert 0 <= after_s <= 100
    assert took_s <= computing(thermal, 100, work)[0] + 1e-9
    assert 0 <= cooled(thermal, after_s, idle) <= after_s
    assert cooled(thermal, 100, 50) == 0


def test_heat_stays_from_one_visit_to_the_next_and_leaves():
    thermal = {"default": {"hot_after_s": 60, "hot_speed": 0.5, "recovery_s": 120}}
    world, _ = make_world(mix={"pi_4": 1}, power={"thermal": thermal})
    works = (Work(1, 100.0, 1.0),)
    first = visit(world, works=works)
    assert first.arrived_s == START_S + 60 + 2 * 40
    assert first.works == (Work(1, 140.0, 1.0),)
    at_once = visit(world, works=works, number=2, sent_s=first.arrived_s)
    assert at_once.arrived_s - at_once.started_s == 200
    later = visit(world, works=works, number=3, sent_s=at_once.arrived_s + 60)  # half cold
    assert later.arrived_s - later.started_s == 30 + 2 * 70


PHONE = {"capacity_j": 1000, "start": 0.5, "reserve": 0.2, "charge_w": 0.1, "charge_from_hour": 6, "charge_hours": 2}


def phones(**fields):
    return make_world(mix={"phone": 1}, power={"batteries": {"phone": PHONE | fields}})[0]


def test_a_device_works_while_its_charge_lasts_and_waits_for_the_charger():
    world = phones()
    works = (Work(1, 10.0, 250.0),)
    assert visit(world, works=works).arrived_s == START_S + 10
    assert world.devices.charge_j(0, 1, START_S + 10) == 250
    waited = visit(world, works=works, number=2, sent_s=START_S + 20)
    assert waited.arrived_s == pytest.approx(START_S + 6 * HOUR_S + 2000 + 10)  # 450 J: reserve and work
    assert world.devices.charge_j(0, 1, waited.arrived_s) == pytest.approx(201)


def test_who_is_not_charged_in_time_does_not_begin():
    world = phones()
    works = (Work(1, 10.0, 250.0),)
    visit(world, works=works)
    missed = visit(world, works=works, number=2, sent_s=START_S + 20, ttl_s=HOUR_S)
    assert (missed.arrived_s, missed.cause, missed.works) == (None, "battery", ())
    assert world.devices.charge_j(0, 1, START_S + HOUR_S) == 250


def test_work_that_no_charge_is_enough_for_is_never_begun():
    assert visit(phones(), works=(Work(1, 10.0, 801.0),), ttl_s=30 * DAY_S).cause == "battery"
    assert visit(phones(charge_w=0), works=(Work(1, 10.0, 301.0),), ttl_s=30 * DAY_S).cause == "battery"


def test_a_gateway_waits_for_the_device_that_has_to_be_charged():
    power = {"batteries": {"mcu": PHONE | {"start": 1.0}}}
    world, nodes = make_world(mix={"stm32h743": 1}, power=power)
    assert len(nodes[0].devices) == 4
    assert visit(world, works=(Work(1, 5.0, 790.0), Work(2, 50.0, 1.0))).arrived_s == START_S + 50
    works = (Work(1, 5.0, 100.0), Work(2, 50.0, 1.0))
    assert visit(world, works=works, number=2).arrived_s == pytest.approx(START_S + 6 * HOUR_S + 900 + 5)


def test_devices_start_with_charges_of_their_own():
    world, nodes = make_world(200, {"phone": 1}, power={"batteries": {"default": PHONE | {"start_spread": 0.6}}})
    charges = [world.devices.charge_j(node, node + 1, START_S) for node in range(len(nodes))]
    assert {min(charges), max(charges)} == {0.0, 1000.0}  # 0.5 +- 0.6, cut off
    assert len(set(charges)) > 150
    assert make_world(5)[0].devices.charge_j(0, 1, START_S) is None


@settings(max_examples=40)
@given(
    battery=BATTERIES,
    works=st.lists(st.tuples(st.floats(0, DAY_S), st.floats(0, 5e3), st.floats(0, 2e4)), max_size=6),
)
def test_no_run_of_visits_overdraws_a_battery(battery, works):
    world, _ = make_world(1, {"phone": 1}, power={"batteries": {"phone": battery.model_dump()}})
    at_s = START_S
    for number, (pause_s, time_s, energy_j) in enumerate(works, start=1):
        at_s += pause_s
        found = visit(world, works=(Work(1, time_s, energy_j),), number=number, sent_s=at_s)
        assert (found.arrived_s is None) == (found.cause == "battery")
        charge_j = world.devices.charge_j(0, 1, at_s)
        assert 0 <= charge_j <= battery.capacity_j
