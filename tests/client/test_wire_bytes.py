"""The promise on the wire: the bytes of a reply hold numbers, whatever the node's data, files and handlers are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from client.app import GuardedApp, app
from client.store import Store
from tests.client.images import write_images
from tinytrain_core import wire
from tinytrain_core.backbones.weights import digest
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome, PersonalisationReport, failure
from tinytrain_core.wire import NodeProfile, PersonaliseRequest, ProfileRequest, validate_metrics

pytestmark = pytest.mark.usefixtures("flower_identity")

SECRET = "SECRETPLACE"
NUMBERS_ONLY = {"Message", "RecordDict", "MetricRecord"}
WEIGHTS = np.random.default_rng(0).normal(size=1000).astype(np.float32)
Handler = Callable[[Message, Context], Message]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A node of two devices in a folder with a telling name; the second device has no images."""
    place = tmp_path / SECRET
    write_images(place / "images", 2, 4, prefix=SECRET)
    (place / "empty").mkdir()
    shared = {"profile": "pi_4", "shots": 2, "holdout": 2}
    devices = [{"number": 11, "data": "images", **shared}, {"number": 12, "data": "empty", **shared}]
    (place / "node.yaml").write_text(yaml.safe_dump({"store": "store", "devices": devices}), encoding="utf-8")
    return Context(1, 7, {"config": str(place / "node.yaml")}, RecordDict(), {})


def message(kind: str, request: PersonaliseRequest | ProfileRequest, backbone: bytes | None = None) -> Message:
    records = RecordDict({wire.REQUEST_RECORD: ConfigRecord(request.model_dump())})
    if backbone is not None:
        array = Array(np.frombuffer(backbone, dtype=np.uint8))
        records[wire.BACKBONE_RECORD] = ArrayRecord({wire.BACKBONE_ARRAY: array})
    made = Message(records, 7, kind)
    made.metadata.__dict__["_message_id"] = "1"
    return made


def personalise_message(backbone: bytes, send: bool = True) -> Message:
    request = PersonaliseRequest(digest=digest(backbone), method="last_layer", steps=1)
    return message(wire.TRAIN_PERSONALISE, request, backbone if send else None)


def on_the_wire(reply: Message) -> bytes:
    """All that Flower's two transports would send of a reply, after checking what kinds of objects it is made of."""
    objects = get_all_nested_objects(reply).values()
    assert {type(item).__name__ for item in objects} <= NUMBERS_ONLY
    assert not reply.has_error()
    return message_to_proto(reply).SerializeToString() + b"".join(item.deflate() for item in objects)


def check_silence(reply: Message, context: Context) -> bytes:
    """No name, path, exception text or weight is in the bytes."""
    sent = on_the_wire(reply)
    forbidden = [SECRET.encode(), str(context.node_config["config"]).encode(), b"Error", b"Traceback", b".png"]
    forbidden += [WEIGHTS.tobytes()[:16], WEIGHTS.astype(np.float64).tobytes()[:16]]
    assert [text for text in forbidden if text in sent] == []
    return sent


def answer(reply: Message) -> list[PersonalisationReport] | NodeProfile:
    return validate_metrics({name: dict(record) for name, record in reply.content.metric_records.items()})


def reports(reply: Message) -> list[PersonalisationReport]:
    found = answer(reply)
    assert isinstance(found, list)
    return found


def test_a_real_personalisation_sends_numbers_only(context: Context, backbone_data: bytes) -> None:
    reply = app(personalise_message(backbone_data), context)
    sent = check_silence(reply, context)
    assert len(sent) < 16_000
    good, empty = reports(reply)
    assert (good.device, good.error, good.ways, good.updated_layers) == (11, ErrorCode.NONE, 2, 1)
    assert good.wall_s > 0
    assert (empty.device, empty.outcome, empty.error) == (12, Outcome.FAILED, ErrorCode.NO_IMAGES)


def test_the_profile_says_whether_the_backbone_is_held(context: Context, backbone_data: bytes) -> None:
    ask = message(wire.QUERY_PROFILE, ProfileRequest(digest=digest(backbone_data)))
    reply = app(ask, context)
    check_silence(reply, context)
    assert answer(reply) == NodeProfile(devices=2, holds_backbone=0)
    app(personalise_message(backbone_data), context)
    assert answer(app(ask, context)) == NodeProfile(devices=2, holds_backbone=1)


def test_a_backbone_with_another_digest_is_not_stored(context: Context, backbone_data: bytes) -> None:
    request = PersonaliseRequest(digest=digest(b"another"))
    reply = app(message(wire.TRAIN_PERSONALISE, request, backbone_data), context)
    assert [r.error for r in reports(reply)] == [ErrorCode.BACKBONE] * 2
    assert Store(Path(str(context.node_config["config"])).parent / "store").backbones() == []


def steal(*records: tuple[str, ArrayRecord | ConfigRecord | MetricRecord]) -> Handler:
    """A handler that sends the records beside valid reports."""

    def handler(incoming: Message, _: Context) -> Message:
        valid = {wire.report_record(i): failure(ErrorCode.NONE, device=11 + i).model_dump() for i in range(2)}
        content = RecordDict({name: MetricRecord(report) for name, report in valid.items()})
        for name, record in records:
            content[name] = record
        return Message(content, reply_to=incoming)

    return handler


def explode(_: Message, context: Context) -> Message:
    raise RuntimeError(f"{SECRET} in {context.node_config} {WEIGHTS.tobytes()!r}")


def flower_error(incoming: Message, _: Context) -> Message:
    return Message(Error(2, SECRET), reply_to=incoming)


def report_with(**changes: object) -> MetricRecord:
    return MetricRecord(failure(ErrorCode.NONE, device=11).model_dump() | changes)  # type: ignore[arg-type]


THIEVES = {
    "arrays": steal(("weights", ArrayRecord({"w": Array(WEIGHTS)}))),
    "config bytes": steal(("settings", ConfigRecord({"w": WEIGHTS.tobytes()}))),
    "config text": steal(("settings", ConfigRecord({"where": SECRET}))),
    "a record of floats": steal(("weights", MetricRecord({"w": WEIGHTS.tolist()}))),
    "a record under a report's name": steal((wire.report_record(2), MetricRecord({"w": WEIGHTS.tolist()}))),
    "floats inside a report": steal((wire.report_record(0), report_with(updated_channels=WEIGHTS.tolist()))),
    "one more field": steal((wire.report_record(0), report_with(weights=WEIGHTS.tolist()))),
    "a telling field": steal((wire.report_record(0), report_with(**{SECRET: 1}))),
    "a number that is none": steal((wire.report_record(0), report_with(loss_last=float("nan")))),
    "more reports than devices": steal((wire.report_record(2), report_with())),
    "another device's report": steal((wire.report_record(1), report_with())),
    "Flower's error": flower_error,
    "nothing": lambda incoming, _: None,  # type: ignore[dict-item, return-value]
}


@pytest.mark.parametrize("thief", THIEVES.values(), ids=THIEVES.keys())
def test_a_handler_that_sends_anything_else_is_stopped(thief: Handler, context: Context, backbone_data: bytes) -> None:
    hostile = GuardedApp()
    hostile.train("personalise")(thief)
    reply = hostile(personalise_message(backbone_data), context)
    check_silence(reply, context)
    assert [(r.device, r.error) for r in reports(reply)] == [(11, ErrorCode.EGRESS), (12, ErrorCode.EGRESS)]


def test_valid_reports_pass_the_same_guard(context: Context, backbone_data: bytes) -> None:
    honest = GuardedApp()
    honest.train("personalise")(steal())
    assert [r.error for r in reports(honest(personalise_message(backbone_data), context))] == [ErrorCode.NONE] * 2


def test_an_exception_leaves_its_code_only(context: Context, backbone_data: bytes) -> None:
    hostile = GuardedApp()
    hostile.train("personalise")(explode)
    hostile.query("profile")(explode)
    reply = hostile(personalise_message(backbone_data), context)
    check_silence(reply, context)
    assert [r.error for r in reports(reply)] == [ErrorCode.INTERNAL] * 2
    reply = hostile(message(wire.QUERY_PROFILE, ProfileRequest(digest=digest(b""))), context)
    check_silence(reply, context)
    assert answer(reply) == NodeProfile(devices=0, holds_backbone=0)


def test_a_mod_that_adds_weights_behind_the_handler_is_stopped(context: Context, backbone_data: bytes) -> None:
    def mod(incoming: Message, ctx: Context, call_next: Handler) -> Message:
        reply = call_next(incoming, ctx)
        reply.content["weights"] = ArrayRecord({"w": Array(WEIGHTS)})
        return reply

    hostile = GuardedApp(mods=[mod])
    hostile.train("personalise")(steal())
    reply = hostile(personalise_message(backbone_data), context)
    check_silence(reply, context)
    assert [r.error for r in reports(reply)] == [ErrorCode.EGRESS] * 2


@pytest.mark.parametrize("kind", ["train.steal", "evaluate", "query"])
def test_an_unknown_message_is_answered_in_numbers(kind: str, context: Context, backbone_data: bytes) -> None:
    reply = app(message(kind, PersonaliseRequest(digest=digest(backbone_data))), context)
    check_silence(reply, context)
    assert [r.error for r in reports(reply)] == [ErrorCode.REQUEST] * 2


def test_a_malformed_request_is_answered_in_numbers(context: Context, backbone_data: bytes) -> None:
    for records in (RecordDict(), RecordDict({wire.REQUEST_RECORD: ConfigRecord({"digest": SECRET, "extra": 1})})):
        broken = Message(records, 7, wire.TRAIN_PERSONALISE)
        reply = app(broken, context)
        check_silence(reply, context)
        assert [r.error for r in reports(reply)] == [ErrorCode.REQUEST] * 2


def test_a_node_with_a_broken_configuration_says_so_in_a_number(context: Context, backbone_data: bytes) -> None:
    Path(str(context.node_config["config"])).write_text(f"{SECRET}: [", encoding="utf-8")
    reply = app(personalise_message(backbone_data), context)
    check_silence(reply, context)
    assert [(r.device, r.error) for r in reports(reply)] == [(0, ErrorCode.CONFIGURATION)]
    reply = app(message(wire.QUERY_PROFILE, ProfileRequest(digest=digest(backbone_data))), context)
    assert answer(reply) == NodeProfile(devices=0, holds_backbone=0)
