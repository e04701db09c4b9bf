from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.fleet.nodes import HostedDevice, Node
from server.fleet.rollout.spec import RolloutSpec, Stage, Target, load_spec
from server.fleet.rollout.targeting import cuts, fits, members, stage_of
from tinytrain_core.errors import ConfigurationError

KEYS = st.lists(st.integers(0, 10_000), unique=True, min_size=1, max_size=40)
LAST = Stage(percent=100)


def fleet(keys: list[int], most: int = 3) -> list[Node]:
    return [
        Node(f"n{key}", f"ecdsa key{key} x", tuple(HostedDevice(10 * key + i, "pi_4") for i in range(1 + key % most)))
        for key in keys
    ]


def stages_of(spec: RolloutSpec, nodes: list[Node], ends: tuple[str, ...] | None = None) -> dict[str, int | None]:
    ordered = members(spec, nodes)
    ends = ends or cuts(spec, ordered)
    return {member.name: stage_of(member.place, ends) for member in ordered}


def devices_in(spec: RolloutSpec, nodes: list[Node]) -> list[int]:
    """Devices in each stage with those before it."""
    found, by_name = stages_of(spec, nodes), {node.name: len(node.devices) for node in nodes}
    return [
        sum(by_name[name] for name, stage in found.items() if stage is not None and stage <= number)
        for number in range(len(spec.stages))
    ]


SIZES = st.tuples(
    st.lists(st.integers(1, 60), max_size=2).map(sorted), st.lists(st.integers(1, 99), max_size=3).map(sorted)
)


@given(KEYS, SIZES)
def test_stages_are_whole_nodes_that_reach_the_size_and_no_more(
    keys: list[int], sizes: tuple[list[int], list[int]]
) -> None:
    stages = (*(Stage(devices=n) for n in sizes[0]), *(Stage(percent=p) for p in sizes[1]), LAST)
    spec = RolloutSpec(name="r", release=2, stages=stages)
    nodes = fleet(keys)
    in_all = sum(len(node.devices) for node in nodes)
    found = devices_in(spec, nodes)
    assert found == sorted(found)
    assert found[-1] == in_all
    wanted = 0
    for stage, devices in zip(stages, found, strict=True):
        size = stage.devices if stage.devices is not None else in_all * (stage.percent or 0) / 100
        wanted = max(wanted, min(size, in_all))
        assert wanted <= devices < wanted + 3  # nodes have at most three devices


@given(KEYS, st.integers(0, 10_000), st.integers(1, 30))
def test_a_node_that_is_added_moves_nobody(keys: list[int], new: int, first: int) -> None:
    spec = RolloutSpec(name="r", release=2, stages=(Stage(devices=first), Stage(percent=30), LAST))
    nodes = fleet(keys)
    ends = cuts(spec, members(spec, nodes))
    before = stages_of(spec, nodes, ends)
    after = stages_of(spec, fleet(sorted({*keys, new})), ends)
    assert {name: after[name] for name in before} == before
    assert after[f"n{new}"] is not None


@given(KEYS, st.integers(1, 100), st.integers(1, 100))
def test_a_larger_share_of_the_target_holds_the_smaller_one(keys: list[int], one: int, other: int) -> None:
    shares = []
    for percent in sorted((one, other)):
        spec = RolloutSpec(name="r", release=2, target=Target(percent=percent), stages=(LAST,))
        shares.append({name for name, stage in stages_of(spec, fleet(keys)).items() if stage is not None})
    assert shares[0] <= shares[1]
    assert shares[0]


@given(KEYS, st.randoms())
def test_the_order_in_which_nodes_are_listed_does_not_matter_and_the_seed_does(keys: list[int], random: object) -> None:
    nodes, spec = fleet(keys), RolloutSpec(name="r", release=2)
    shuffled = list(nodes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert members(spec, nodes) == members(spec, shuffled)
    assert members(RolloutSpec(name="other", release=2), nodes) == members(spec, nodes)
    other = [member.place for member in members(RolloutSpec(name="r", release=2, seed="s"), nodes)]
    assert set(other).isdisjoint(member.place for member in members(spec, nodes))


def test_a_node_fits_where_all_conditions_hold() -> None:
    gateway = Node("yard-1", "k", (HostedDevice(1, "pi_4"), HostedDevice(2, "stm32h743")), ("yard", "new"))
    assert fits(gateway, Target())
    assert fits(gateway, Target(classes=("stm32h743",), tags=("yard", "new"), names=("hall", "yard-*")))
    assert not fits(gateway, Target(classes=("esp32s3",)))
    assert not fits(gateway, Target(tags=("yard", "old")))
    assert not fits(gateway, Target(names=("hall",)))
    assert not fits(Node("bare", "k"), Target())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a", "release: Field required"),
        ("name: a\nrelease: 2\nstage: []", "unknown key stage; the known ones are name, release, target, stages"),
        ("name: a\nrelease: 2\ngates: {max_failed: 0.1}", "gates: .*unknown key max_failed.* max_share_failed"),
        ("name: a\nrelease: 2\ngates: {excused: [sloth]}", "no error is called 'sloth'; there are .*no_images"),
        ("name: a\nrelease: latest", "release"),
        ("name: a\nrelease: 2\ntarget: {classes: [pi_9]}", "unknown device 'pi_9'; the catalogue has .*pi_4"),
        ("name: a\nrelease: 2\ntraining: {method: magic}", "magic"),
        ("name: a\nrelease: 2\nstages: [{percent: 50}]", "the last is `percent: 100`"),
        ("name: a\nrelease: 2\nstages: [{percent: 50}, {percent: 20}, {percent: 100}]", "the shares grow"),
        ("name: a\nrelease: 2\nstages: [{devices: 5, percent: 50}, {percent: 100}]", "one of the two"),
        ("name: a\nrelease: 2\ndeadline_s: .nan", "deadline_s"),
        ("name: ../a\nrelease: 2", "name"),
    ],
)
def test_a_wrong_spec_is_refused_and_the_key_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_spec(file)


def test_the_shortest_spec_has_the_usual_stages(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("name: spring\nrelease: canary\n")
    spec = load_spec(file)
    assert [stage.size for stage in spec.stages] == ["10 devices", "5 %", "25 %", "100 %"]
    assert spec.rollback == "auto"
    assert spec.gates.excused_codes == {10, 11, 12}
