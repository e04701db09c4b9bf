"""What goes wrong in the world: how often, to whom, and what a node that lies gets past the server's checks."""

import math

import pytest

from simulations.world.faults import LIES, fate, lie_of, slowness, told
from simulations.world.settings import Faults
from simulations.world.visit import Fate
from tests.simulations.fleets import make_report
from tests.simulations.worlds import TRAIN, make_world
from tinytrain_core.errors import EgressError
from tinytrain_core.report import Outcome
from tinytrain_core.wire import validate_metrics

NODES = 4000
DEVICES = 50


def records(outcome=Outcome.KEPT_BASE, before=0.6, after=0.4):
    return {"device-0": make_report(7, 5, before, after, outcome=int(outcome)).model_dump()}


def fates(faults, number=1, kind=TRAIN, seed=0):
    return [fate(faults, seed, node, kind, number) for node in range(NODES)]


def test_as_many_requests_fail_as_were_asked_to():
    found = fates(Faults(drop_out=0.1, crash=0.05))
    assert found.count(Fate.DROPS_OUT) / NODES == pytest.approx(0.1, abs=0.015)
    assert found.count(Fate.CRASHES) / NODES == pytest.approx(0.05, abs=0.01)
    assert set(fates(Faults(drop_out=1.0))) == {Fate.DROPS_OUT}
    assert set(fates(Faults(crash=1.0))) == {Fate.CRASHES}


def test_a_fate_follows_from_seed_node_kind_and_number_alone():
    faults = Faults(drop_out=0.3)
    assert fates(faults) == fates(faults)
    others = [fates(faults, number=2), fates(faults, kind="train.order"), fates(faults, seed=1)]
    assert all(other != fates(faults) for other in others)
    assert fate(faults, 0, 3999, TRAIN, 1) == fates(faults)[3999]


def test_queries_are_always_answered():
    faults = Faults(drop_out=0.5, crash=0.5)
    assert set(fates(faults, kind="query.profile")) == set(fates(faults, kind="query.sync")) == {Fate.ANSWERS}


def test_the_same_nodes_are_slow_every_time():
    faults = Faults(slow=0.2, slow_factor=3)
    slow = [slowness(faults, 0, node) for node in range(NODES)]
    assert set(slow) == {1.0, 3.0}
    assert slow.count(3.0) / NODES == pytest.approx(0.2, abs=0.02)
    assert slow == [slowness(faults, 0, node) for node in range(NODES)]


def test_as_many_nodes_lie_as_were_asked_to_in_all_ways():
    kinds = [lie_of(Faults(byzantine=0.4), 0, node) for node in range(NODES)]
    assert set(kinds) == {"", *LIES}
    assert kinds.count("") / NODES == pytest.approx(0.6, abs=0.03)
    assert all(kinds.count(kind) / NODES == pytest.approx(0.1, abs=0.02) for kind in LIES)


def tell(kind, said, number=1):
    return told(Faults(byzantine=1, byzantine_kind=kind), 0, 3, number, said, DEVICES)


def test_an_inflated_report_looks_valid():
    (report,) = validate_metrics(tell("inflate", records()))
    assert (report.device, report.outcome, report.accuracy_after) == (7, Outcome.ADAPTED, 1)
    failed = {"device-0": make_report(7, 5, 0, 0, outcome=int(Outcome.FAILED), error=1).model_dump()}
    assert tell("inflate", failed) == failed


def test_a_report_in_a_foreign_name_looks_valid_and_is_of_another_device():
    names = {validate_metrics(tell("foreign", records(), number))[0].device for number in range(1, 200)}
    assert 7 not in names
    assert names <= set(range(1, DEVICES + 1))
    assert len(names) > 30


@pytest.mark.parametrize("kind", ["nan", "garbage"])
def test_what_is_no_report_is_refused(kind):
    assert tell(kind, records()).keys() == records().keys()
    with pytest.raises(EgressError):
        validate_metrics(tell(kind, records()))


def test_nan_is_not_a_number():
    assert math.isnan(tell("nan", records())["device-0"]["accuracy_after"])


def test_only_reports_are_lies_and_the_truth_is_left_alone():
    said = records() | {"profile": {"devices": 1, "holds_backbone": 1}}
    before = {name: dict(record) for name, record in said.items()}
    for kind in LIES:
        assert tell(kind, said)["profile"] == said["profile"]
    assert said == before
    world, _ = make_world()
    assert world.reply(0, 1, said) == said
