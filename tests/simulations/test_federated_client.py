"""A node of a federated baseline: what it trains, what it sends, and what stays with it."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict

from client.app import app as device_app
from client.config import NodeConfig
from client.private_data import device_episode
from simulations.federated import orders
from simulations.federated.arrays import arrays_in, record_of
from simulations.federated.averaging import RunningMean, arrays_of, base_names, personal_names, with_arrays
from simulations.federated.client import app
from simulations.federated.lifted import LiftedNodes
from simulations.federated.options import personal_of
from simulations.federated.start import random_weights
from tests.simulations.federated_fleet import SMALL, know_small, make_images, make_node, small_backbone
from tinytrain_core import wire
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import digest, to_bytes
from tinytrain_core.errors import BackboneError, ConfigurationError, ErrorCode

pytestmark = pytest.mark.usefixtures("flower_identity")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    know_small(monkeypatch)


def order(**changes: object) -> orders.TrainRequest:
    fields = {"architecture": SMALL, "head_scale": 10.0, "round": 1, "steps": 2, "learning_rate": 0.01}
    return orders.TrainRequest.model_validate(fields | {"optimiser": "adam", "views": 1, "precision": "full"} | changes)


def message(kind: str, request: object, arrays: object = None) -> Message:
    content = RecordDict({wire.REQUEST_RECORD: ConfigRecord(request.model_dump())})
    if arrays is not None:
        content[orders.ARRAYS_RECORD] = record_of(arrays)
    return Message(content, 1, kind)


def context(node: NodeConfig) -> Context:
    return Context(1, 1, {"partition-id": 0, "num-partitions": 1, "node": node.model_dump_json()}, RecordDict(), {})


def train(node: Context, request: orders.TrainRequest, backbone: Backbone, base_only: bool = False) -> Message:
    names = base_names(backbone.spec, request.personal_blocks if base_only else 0)
    return app(message(orders.TRAIN_FEDERATED, request, arrays_of(backbone, names)), node)


def answers(reply: Message) -> list[orders.Trained]:
    return orders.parse_answers(orders.Trained, {k: dict(v) for k, v in reply.content.metric_records.items()})


@pytest.fixture
def images(tmp_path: Path) -> str:
    return str(make_images(tmp_path / "images", 3, 8))


def test_the_mean_is_weighted_by_examples() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(3, 2)).astype(np.float32) for _ in range(3)]
    mean = RunningMean()
    for examples, part in zip((1, 5, 10), parts, strict=True):
        mean.add(examples, {"w": part})
    expected = np.average(np.stack(parts).astype(np.float64), axis=0, weights=[1, 5, 10])
    np.testing.assert_allclose(mean.arrays()["w"], expected, rtol=1e-6)
    alone = RunningMean()
    alone.add(7, {"w": parts[0]})
    assert (alone.arrays()["w"] == parts[0]).all()


def test_personal_and_base_layers_are_all_layers() -> None:
    spec = small_backbone().spec
    personal, base = personal_names(spec, 2), base_names(spec, 2)
    assert personal | base == set(arrays_of(small_backbone()))
    assert not personal & base
    assert {name.partition(".")[0] for name in personal} == {"block04", "mix"}
    assert personal_of(spec, None) == 2  # the last block, and the feature mix
    with pytest.raises(ConfigurationError, match="6 blocks"):
        personal_of(spec, 6)


@pytest.mark.parametrize(
    "wrong", [{"nobody.weight": np.zeros(1)}, {"stem.bias": np.zeros(3)}, {"stem.bias": np.full(8, np.nan)}]
)
def test_weights_that_do_not_fit_are_refused(wrong: dict) -> None:
    with pytest.raises(BackboneError, match=r"bias|nobody"):
        with_arrays(small_backbone(), wrong)


def test_a_device_trains_every_weight_and_says_what_it_took(tmp_path: Path, images: str) -> None:
    backbone = small_backbone()
    reply = train(context(make_node(tmp_path / "s", {"number": 3, "data": images})), order(), backbone)
    (told,) = answers(reply)
    assert (told.device, told.images, told.steps, told.error) == (3, 6, 2, 0)
    assert told.estimated_s > 0
    assert told.estimated_j > 0
    arrays = arrays_in(reply.content.array_records[orders.ARRAYS_RECORD])
    before = arrays_of(backbone)
    assert set(arrays) == set(before)
    assert all((arrays[name] != before[name]).any() for name in before)


def test_a_gateway_sends_the_weighted_mean_of_its_devices(tmp_path: Path, images: str) -> None:
    backbone = small_backbone()
    devices = [{"number": 1, "data": images}, {"number": 2, "data": images, "shots": 4}]
    together = train(context(make_node(tmp_path / "g", *devices)), order(), backbone)
    alone = [train(context(make_node(tmp_path / str(d["number"]), d)), order(), backbone) for d in devices]
    examples = [answers(reply)[0].images for reply in alone]
    assert examples == [6, 12]
    parts = [arrays_in(reply.content.array_records[orders.ARRAYS_RECORD]) for reply in alone]
    for name, mean in arrays_in(together.content.array_records[orders.ARRAYS_RECORD]).items():
        np.testing.assert_allclose(
            mean, np.average([p[name] for p in parts], axis=0, weights=examples), rtol=1e-5, atol=1e-7
        )


def test_the_holdout_is_not_looked_at(tmp_path: Path, images: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_node(tmp_path / "s", {"number": 3, "data": images})
    before = train(context(node), order(), small_backbone())

    def swapped(device: object, resolution: int) -> object:
        episode = device_episode(device, resolution)
        object.__setattr__(episode, "query", None)
        object.__setattr__(episode, "query_labels", None)
        return episode

    monkeypatch.setattr("simulations.federated.device.device_episode", swapped)
    assert answers(train(context(node), order(), small_backbone())) == answers(before)


def test_personal_layers_stay_on_the_device(tmp_path: Path, images: str) -> None:
    backbone, request = small_backbone(), order(personal_blocks=2)
    node = context(make_node(tmp_path / "s", {"number": 3, "data": images}, {"number": 4, "data": images}))
    personal = personal_names(backbone.spec, 2)
    for base_only in (False, True):
        reply = train(node, request, backbone, base_only)
        assert set(reply.content.array_records[orders.ARRAYS_RECORD]) == base_names(backbone.spec, 2)
        assert not reply.content.config_records
    kept = [arrays_in(node.state.array_records[f"personal-{number}"]) for number in (3, 4)]
    assert [set(arrays) for arrays in kept] == [personal, personal]
    assert any((kept[0][name] != kept[1][name]).any() for name in personal)  # each device has its own


def test_the_next_round_goes_on_with_the_own_layers(tmp_path: Path, images: str) -> None:
    backbone, request = small_backbone(), order(personal_blocks=2)
    node = context(make_node(tmp_path / "s", {"number": 3, "data": images}))
    train(node, request, backbone)
    own = arrays_in(node.state.array_records["personal-3"])
    again = answers(train(node, request, backbone, base_only=True))[0]
    whole = context(make_node(tmp_path / "w", {"number": 3, "data": images}))
    assert again == answers(train(whole, request, with_arrays(backbone, own)))[0]
    assert again.loss_first != answers(train(whole, order(), backbone))[0].loss_first


def test_base_layers_without_the_rest_are_an_error(tmp_path: Path, images: str) -> None:
    node = context(make_node(tmp_path / "s", {"number": 3, "data": images}))
    with pytest.raises(BackboneError, match="holds no backbone"):
        train(node, order(personal_blocks=2), small_backbone(), base_only=True)


def test_a_device_that_cannot_hold_it_says_so_and_has_no_part(tmp_path: Path, images: str) -> None:
    config = make_node(tmp_path / "s", {"number": 5, "data": images, "memory_bytes": 50_000, "storage_bytes": 0})
    asked = app(message(orders.QUERY_FEDERATED, order()), context(config))
    records = {name: dict(record) for name, record in asked.content.metric_records.items()}
    (told,) = orders.parse_answers(orders.Affords, records)
    assert (told.device, told.affords, told.memory_budget_bytes) == (5, 0, 50_000)
    assert told.memory_bytes > 50_000
    reply = train(context(config), order(), small_backbone())
    assert not reply.content.array_records
    assert (answers(reply)[0].images, answers(reply)[0].error) == (0, ErrorCode.BUDGET)


def test_supposing_that_every_device_could(tmp_path: Path, images: str) -> None:
    config = make_node(tmp_path / "s", {"number": 5, "data": images, "memory_bytes": 50_000, "storage_bytes": 0})
    (lifted,) = LiftedNodes([config])
    reply = train(context(lifted), order(), small_backbone())
    assert answers(reply)[0].images == 6
    assert (lifted.store, lifted.devices[0].number) == (config.store, 5)


def test_one_device_fails_alone(tmp_path: Path, images: str) -> None:
    (tmp_path / "empty").mkdir()
    config = make_node(tmp_path / "s", {"number": 1, "data": str(tmp_path / "empty")}, {"number": 2, "data": images})
    failed, good = answers(train(context(config), order(), small_backbone()))
    assert (failed.images, failed.error) == (0, ErrorCode.NO_IMAGES)
    assert good.images == 6


@pytest.mark.parametrize("personal", [0, 2])
def test_a_node_puts_the_final_backbone_together(tmp_path: Path, images: str, personal: int) -> None:
    start, node = small_backbone(), context(make_node(tmp_path / "s", {"number": 3, "data": images}))
    random = random_weights(start.spec, 5)
    if personal:
        train(node, order(personal_blocks=personal), start)
        base = arrays_of(random, base_names(start.spec, personal))
        goal, seed = with_arrays(start, base), -1
    else:
        base, goal, seed = None, random, 5
    for wanted, held in ((digest(to_bytes(goal)), 1), ("0" * 64, 0)):
        request = orders.AdoptRequest(digest=wanted, architecture=SMALL, random_seed=seed)
        reply = app(message(orders.TRAIN_ADOPT, request, base), node)
        assert dict(reply.content.metric_records[orders.ADOPTED_RECORD]) == {"holds_backbone": held}
        profile = app(message(wire.QUERY_PROFILE, wire.ProfileRequest(digest=wanted)), node)
        assert profile.content.metric_records[wire.PROFILE_RECORD]["holds_backbone"] == held


def personalised(node: Context, target: object, backbone: Backbone) -> RecordDict:
    data = to_bytes(backbone)
    request = wire.PersonaliseRequest(digest=digest(data), round=1, method="full_train", steps=1, views=1)
    asked = message(wire.TRAIN_PERSONALISE, request)
    asked.content[wire.BACKBONE_RECORD] = record_of({wire.BACKBONE_ARRAY: np.frombuffer(data, dtype=np.uint8)})
    return target(asked, node).content


def test_the_end_is_the_devices_own_personalisation(tmp_path: Path, images: str) -> None:
    node = make_node(tmp_path / "s", {"number": 3, "data": images})
    of_device = personalised(context(node), device_app, small_backbone())
    assert of_device.metric_records["device-0"]["outcome"] in (1, 2)
    assert personalised(context(node), app, small_backbone()) == of_device


def test_the_end_takes_the_own_layers(tmp_path: Path, images: str) -> None:
    node, backbone = context(make_node(tmp_path / "s", {"number": 3, "data": images})), small_backbone()
    train(node, order(personal_blocks=2, steps=20), backbone)
    merged = with_arrays(backbone, arrays_in(node.state.array_records["personal-3"]))
    other = context(make_node(tmp_path / "t", {"number": 3, "data": images}))
    ended = personalised(node, app, backbone)
    assert set(ended) == {"device-0"}
    assert ended == personalised(other, device_app, merged)
    assert ended != personalised(other, device_app, backbone)


@pytest.mark.parametrize("kind", orders.FEDERATED_KINDS)
def test_an_installed_device_sends_no_weights(tmp_path: Path, images: str, kind: str) -> None:
    node = context(make_node(tmp_path / "s", {"number": 3, "data": images}))
    reply = device_app(message(kind, order(), arrays_of(small_backbone())), node)
    assert not reply.content.array_records
    assert reply.content.metric_records["device-0"] == MetricRecord(
        {**reply.content.metric_records["device-0"], "error": int(ErrorCode.REQUEST)}
    )
