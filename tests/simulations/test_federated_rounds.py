"""The rounds of a federated baseline: who is asked, what is averaged, and what goes wrong without harm."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, Error, Message

from client.config import NodeConfig
from simulations.federated import orders
from simulations.federated.arrays import arrays_in
from simulations.federated.averaging import arrays_of, base_names
from simulations.federated.federation import Federation, federate
from simulations.federated.methods import FEDERATED_METHODS, federated_method
from simulations.federated.options import FederatedSettings
from simulations.federated.start import start_backbone
from simulations.federated.talk import Talk
from tests.simulations.federated_fleet import (
    Mangle,
    fleet_settings,
    know_small,
    make_images,
    make_node,
    small_backbone,
    talk_with,
    write_small,
)
from tinytrain_core.backbones.weights import to_bytes
from tinytrain_core.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("flower_identity")
SHOTS = (2, 3, 4)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    know_small(monkeypatch)


@pytest.fixture
def nodes(tmp_path: Path) -> list[NodeConfig]:
    """Three devices with 4, 6 and 8 images to learn from."""
    images = str(make_images(tmp_path / "images", 2, 8))
    return [make_node(tmp_path / str(s), {"number": s, "data": images, "shots": s}) for s in SHOTS]


def settings(method: str = "fedavg", **changes: object) -> FederatedSettings:
    personal = 2 if federated_method(method).personal else 0
    small = {"method": method, "rounds": 1, "local_steps": 2, "learning_rate": 0.01, "personal_blocks": personal}
    return FederatedSettings.model_validate(small | changes)


def run(talk: Talk, federated: FederatedSettings, tmp_path: Path, **fleet: object) -> Federation:
    name = write_small(tmp_path / "small.safetensors")
    start = start_backbone(federated.start, name, 0)
    return federate(federated_method(federated.method), talk, fleet_settings(backbone=name, **fleet), federated, start)


def of_kind(messages: list[Message], kind: str) -> list[Message]:
    return [message for message in messages if message.metadata.message_type == kind]


def sent_arrays(talk: Talk, kind: str = orders.TRAIN_FEDERATED) -> list[set[str]]:
    records = (m.content.array_records.get(orders.ARRAYS_RECORD) for m in of_kind(talk.grid.sent, kind))
    return [set(record) if record else set() for record in records]


def asked(talk: Talk) -> list[int]:
    return [m.metadata.dst_node_id for m in of_kind(talk.grid.sent, orders.TRAIN_FEDERATED)]


def recording(kept: dict[int, dict[str, np.ndarray]]) -> Mangle:
    """Note the weights in each reply."""

    def note(node: int, message: Message, reply: Message) -> Message:
        if message.metadata.message_type == orders.TRAIN_FEDERATED:
            record = reply.content.array_records[orders.ARRAYS_RECORD]
            kept[node] = {name: np.array(array) for name, array in arrays_in(record).items()}
        return reply

    return note


def test_the_server_averages_by_examples(nodes: list[NodeConfig], tmp_path: Path) -> None:
    parts: dict[int, dict[str, np.ndarray]] = {}
    found = run(talk_with(nodes, recording(parts)), settings(), tmp_path)
    for name, mean in arrays_of(found.backbone).items():
        expected = np.average([parts[i][name].astype(np.float64) for i in range(3)], axis=0, weights=[4, 6, 8])
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)
    (account,) = found.rounds
    assert (account.devices, account.images, account.missing) == (3, 18, {})
    assert account.loss_first > 0


def with_arrays_of(reply: Message, change: object) -> Message:
    record = reply.content.array_records[orders.ARRAYS_RECORD]
    name = next(iter(record))
    record[name] = Array(np.asarray(change(record[name].numpy().copy())))
    return reply


def images_claimed(reply: Message, images: int) -> Message:
    reply.content.metric_records["device-0"]["images"] = images
    return reply


TROUBLE = {
    "lost": (lambda _, reply: None, "late"),
    "crashed": (lambda message, _: Message(Error(8, "worker died"), reply_to=message), "failed"),
    "not a number": (lambda _, reply: with_arrays_of(reply, lambda a: a * np.nan), "refused"),
    "another shape": (lambda _, reply: with_arrays_of(reply, lambda a: a[:1]), "refused"),
    "more images than announced": (lambda _, reply: images_claimed(reply, 1_000), "refused"),
    "weights of no images": (lambda _, reply: images_claimed(reply, 0), "refused"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_one_node_in_trouble_does_not_spoil_a_round(nodes: list[NodeConfig], tmp_path: Path, trouble: str) -> None:
    mangle, cause = TROUBLE[trouble]

    def second(node: int, message: Message, reply: Message) -> Message | None:
        return mangle(message, reply) if (node, message.metadata.message_type) == (1, orders.TRAIN_FEDERATED) else reply

    found = run(talk_with(nodes, second), settings(), tmp_path)
    (account,) = found.rounds
    assert (account.devices, account.images, account.missing) == (2, 12, {cause: 1})
    alone = run(talk_with([nodes[0], nodes[2]]), settings(), tmp_path)
    assert to_bytes(found.backbone) == to_bytes(alone.backbone)


def test_a_server_waits_for_its_deadline_where_an_answer_is_missing(nodes: list[NodeConfig], tmp_path: Path) -> None:
    def lose(node: int, message: Message, reply: Message) -> Message | None:
        return None if (node, message.metadata.message_type) == (1, orders.TRAIN_FEDERATED) else reply

    waits, lossless = talk_with(nodes, lose), talk_with(nodes)
    run(waits, settings(rounds=2), tmp_path)
    run(lossless, settings(rounds=2), tmp_path)
    assert waits.clock.monotonic_s() - lossless.clock.monotonic_s() == 2 * waits.deadline_s


def test_devices_that_cannot_take_no_part(nodes: list[NodeConfig], tmp_path: Path) -> None:
    tiny = {"number": 9, "data": nodes[0].devices[0].data, "memory_bytes": 50_000, "storage_bytes": 0}
    talk = talk_with([*nodes, make_node(tmp_path / "tiny", tiny)])
    found = run(talk, settings(rounds=2), tmp_path)
    assert asked(talk) == [1, 2, 3, 1, 2, 3]
    assert len(of_kind(talk.grid.sent, orders.QUERY_FEDERATED)) == 4  # each is asked once
    assert found.participants["devices_that_can"] == 3
    assert found.participants["devices_that_cannot"] == 1
    assert found.participants["needed_bytes"] > found.participants["largest_budget_of_those_bytes"] == 50_000


def test_a_node_that_did_not_answer_is_asked_again(nodes: list[NodeConfig], tmp_path: Path) -> None:
    def deaf_once(node: int, message: Message, reply: Message) -> Message | None:
        return None if message.metadata.message_id == "m1" else reply

    def deaf(node: int, message: Message, reply: Message) -> Message | None:
        return None if node == 1 else reply

    late, never = talk_with(nodes, deaf_once), talk_with(nodes, deaf)
    run(late, settings(rounds=2, local_steps=1), tmp_path)
    run(never, settings(rounds=4, local_steps=1), tmp_path)
    assert asked(late) == [1, 3, 1, 2, 3]
    assert asked(never) == [1, 3] * 4
    assert [m.metadata.dst_node_id for m in of_kind(never.grid.sent, orders.QUERY_FEDERATED)] == [1, 2, 3, 2, 2]


def test_without_anybody_who_can_the_start_is_the_result(nodes: list[NodeConfig], tmp_path: Path) -> None:
    tiny = {"number": 9, "data": nodes[0].devices[0].data, "memory_bytes": 50_000, "storage_bytes": 0}
    talk = talk_with([make_node(tmp_path / "tiny", tiny)])
    found = run(talk, settings(rounds=2), tmp_path)
    assert asked(talk) == []
    assert [(r.devices, r.nodes) for r in found.rounds] == [(0, {}), (0, {})]
    assert to_bytes(found.backbone) == to_bytes(small_backbone())


def test_nodes_are_drawn_by_the_seed(nodes: list[NodeConfig], tmp_path: Path) -> None:
    def drawn(seed: int, fraction: float) -> list[int]:
        talk = talk_with(nodes)
        run(talk, settings(rounds=4, fraction=fraction, local_steps=1), tmp_path, seed=seed)
        return asked(talk)

    assert drawn(0, 0.5) == drawn(0, 0.5)
    assert len(drawn(0, 0.01)) == 4  # at least one node a round
    assert len({tuple(drawn(seed, 0.5)) for seed in range(3)}) > 1


def test_the_order_of_replies_changes_nothing(nodes: list[NodeConfig], tmp_path: Path) -> None:
    talk, back = talk_with(nodes), talk_with(nodes)
    pull = back.grid.pull_messages
    back.grid.pull_messages = lambda ids: pull(reversed(list(ids)))
    results = [run(each, settings(rounds=2), tmp_path) for each in (talk, back)]
    assert to_bytes(results[0].backbone) == to_bytes(results[1].backbone)
    assert results[0].rounds == results[1].rounds


def test_personal_layers_travel_down_once_and_never_up(nodes: list[NodeConfig], tmp_path: Path) -> None:
    talk = talk_with(nodes)
    found = run(talk, settings("fedper", rounds=2), tmp_path)
    whole, base = base_names(small_backbone().spec, 0), base_names(small_backbone().spec, 2)
    assert sent_arrays(talk) == [whole] * 3 + [base] * 3
    assert sent_arrays(talk, orders.TRAIN_ADOPT) == [base] * 3
    up = [set(record) for reply in talk.grid.replies for record in reply.content.array_records.values()]
    assert up == [base] * 6
    after, before = arrays_of(found.backbone), arrays_of(small_backbone())
    assert all((after[name] == before[name]).all() for name in whole - base)
    assert all((after[name] != before[name]).any() for name in base)
    adopted = talk.grid.replies[-1].content.metric_records[orders.ADOPTED_RECORD]
    assert adopted["holds_backbone"] == 1


def test_who_never_answered_is_sent_everything_again(nodes: list[NodeConfig], tmp_path: Path) -> None:
    def lose_first(node: int, message: Message, reply: Message) -> Message | None:
        first = message.metadata.message_type == orders.TRAIN_FEDERATED and message.metadata.message_id in ("m3", "m4")
        return None if first else reply

    talk = talk_with(nodes, lose_first)
    run(talk, settings("fedper", rounds=2), tmp_path)
    whole, base = base_names(small_backbone().spec, 0), base_names(small_backbone().spec, 2)
    assert sent_arrays(talk) == [whole] * 5 + [base]


def test_local_training_ignores_the_backbones_weights(nodes: list[NodeConfig], tmp_path: Path) -> None:
    local, found = settings("local", start="random"), []
    for seed in (1, 2):
        talk, name = talk_with(nodes), write_small(tmp_path / f"{seed}.safetensors", seed)
        start = start_backbone(local.start, name, 7)
        found.append(federate(federated_method("local"), talk, fleet_settings(backbone=name, seed=7), local, start))
        assert asked(talk) == []
        assert sent_arrays(talk, orders.TRAIN_ADOPT) == [set()] * 3  # every node draws them itself
        assert all(r.content.metric_records[orders.ADOPTED_RECORD]["holds_backbone"] for r in talk.grid.replies)
    assert to_bytes(found[0].backbone) == to_bytes(found[1].backbone)
    assert to_bytes(start_backbone("random", name, 8)) != to_bytes(found[0].backbone)


@pytest.mark.parametrize("method", ["global", "tinytrain"])
def test_what_has_no_federation_sends_nothing_of_it(nodes: list[NodeConfig], tmp_path: Path, method: str) -> None:
    talk = talk_with(nodes)
    assert to_bytes(run(talk, settings(method), tmp_path).backbone) == to_bytes(small_backbone())
    assert talk.grid.sent == []


def test_how_devices_end() -> None:
    fleet, federated = fleet_settings(steps=7), settings(rounds=3, local_steps=5)
    endings = {name: kind.ending(fleet, federated) for name, kind in FEDERATED_METHODS.items()}
    assert {name: ending.method for name, ending in endings.items()} == {
        "local": "full_train",
        "global": "none",
        "fedavg": "full_train",
        "fedper": "full_train",
        "tinytrain": "tinytrain",
    }
    assert {name: ending.steps for name, ending in endings.items()} == dict.fromkeys(endings, 7) | {"local": 22}
    with pytest.raises(ConfigurationError, match="unknown method 'fedrep'; the known ones are local, global"):
        federated_method("fedrep")
