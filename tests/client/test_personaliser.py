import logging
from pathlib import Path

import pytest

from client.config import parse_node_config
from client.personaliser import device_budget, device_seed, personalise_node
from client.private_data import device_episode
from client.store import Store
from tests.client.conftest import make_node, write_images
from tinytrain_core.backbones.weights import digest, from_bytes
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.engine.delta import Delta
from tinytrain_core.errors import BudgetError, ErrorCode
from tinytrain_core.report import Outcome, validate_report
from tinytrain_core.selection.cost import full_train_backward_macs
from tinytrain_core.wire import PersonaliseRequest


def request(data: bytes, **changes: object) -> PersonaliseRequest:
    fields = {"digest": digest(data), "round": 3, "method": "last_layer", "steps": 1}
    return PersonaliseRequest.model_validate(fields | changes)


def device(number: int, data: Path, **changes: object) -> dict[str, object]:
    return {"number": number, "profile": "pi_4", "data": str(data), "shots": 2, "holdout": 2} | changes


def test_one_device_fails_alone(tmp_path: Path, backbone_data: bytes) -> None:
    images = write_images(tmp_path / "images", 2, 4)
    (tmp_path / "empty").mkdir()
    node = make_node(
        tmp_path, device(4, tmp_path / "empty"), device(5, images), device(6, images, profile="phone", memory_bytes=0)
    )
    empty, good, broke = personalise_node(node, request(backbone_data), backbone_data)
    assert (empty.device, empty.outcome, empty.error, empty.round) == (4, Outcome.FAILED, ErrorCode.NO_IMAGES, 3)
    assert (broke.device, broke.outcome, broke.error) == (6, Outcome.FAILED, ErrorCode.BUDGET)
    assert (good.device, good.profile, good.round, good.ways) == (5, device_profile("pi_4").number, 3, 2)
    assert good.outcome in (Outcome.ADAPTED, Outcome.KEPT_BASE)
    assert good.estimated_s == pytest.approx(good.total_macs / device_profile("pi_4").macs_per_s.value)
    assert good.estimated_j == pytest.approx(good.estimated_s * device_profile("pi_4").active_w.value)
    assert good.wall_s == 0
    for report in (empty, good, broke):
        assert validate_report(report.model_dump()) == report


@pytest.mark.parametrize(
    ("classes", "images", "code"),
    [(1, 4, ErrorCode.TOO_FEW_CLASSES), (2, 1, ErrorCode.TOO_FEW_IMAGES)],
)
def test_too_little_data_has_its_code(
    tmp_path: Path, backbone_data: bytes, classes: int, images: int, code: ErrorCode
) -> None:
    node = make_node(tmp_path, device(1, write_images(tmp_path / "images", classes, images)))
    assert [r.error for r in personalise_node(node, request(backbone_data), backbone_data)] == [code]


def test_an_unknown_method_is_a_report(tmp_path: Path, backbone_data: bytes) -> None:
    node = make_node(tmp_path, device(1, write_images(tmp_path / "images", 2, 4)))
    for change in ({"method": "magic"}, {"optimiser": "magic"}):
        (report,) = personalise_node(node, request(backbone_data, **change), backbone_data)
        assert report.error == ErrorCode.CONFIGURATION


def test_an_unexpected_exception_is_a_report_and_its_text_a_local_log(
    tmp_path: Path, backbone_data: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("the text")

    monkeypatch.setattr("client.personaliser.device_episode", explode)
    node = make_node(tmp_path, device(1, tmp_path), device(2, tmp_path))
    with caplog.at_level(logging.ERROR):
        reports = personalise_node(node, request(backbone_data), backbone_data)
    assert [r.error for r in reports] == [ErrorCode.INTERNAL] * 2
    assert "the text" in caplog.text


def test_the_backbone_is_kept_and_then_not_needed(tmp_path: Path, backbone_data: bytes) -> None:
    node = make_node(tmp_path, device(1, write_images(tmp_path / "images", 2, 4)))
    missing = personalise_node(node, request(backbone_data), None)
    assert [r.error for r in missing] == [ErrorCode.BACKBONE_MISSING]
    sent = personalise_node(node, request(backbone_data), backbone_data)
    assert Store(node.store).backbone(digest(backbone_data)) == backbone_data
    assert personalise_node(node, request(backbone_data), None) == sent


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: b"junk", lambda data: data + b"\0"])
def test_a_backbone_that_is_not_the_announced_one_is_refused(tmp_path: Path, backbone_data: bytes, spoil) -> None:  # type: ignore[no-untyped-def]
    node = make_node(tmp_path, device(1, tmp_path))
    reports = personalise_node(node, request(backbone_data), spoil(backbone_data))
    assert [r.error for r in reports] == [ErrorCode.BACKBONE]
    assert Store(node.store).backbones() == []


def test_the_delta_is_kept_only_while_it_helps(
    tmp_path: Path, backbone_data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node(tmp_path, device(1, write_images(tmp_path / "images", 2, 4)))
    store, name, spec = Store(node.store), digest(backbone_data), from_bytes(backbone_data).spec
    (report,) = personalise_node(node, request(backbone_data, steps=0), backbone_data)
    assert report.outcome == Outcome.ADAPTED
    kept = store.delta(1, name)
    assert kept is not None
    assert Delta.from_bytes(kept, spec).rows
    (report,) = personalise_node(node, request(backbone_data, method="none"), None)
    assert report.outcome == Outcome.NOT_ADAPTED
    assert store.delta(1, name) is None


def test_the_holdout_is_the_same_in_every_round_and_for_every_server(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 3, 9)
    first, again = (make_node(tmp_path, device(1, tmp_path / "images")).devices[0] for _ in range(2))
    episode, same = device_episode(first, 32), device_episode(again, 32)
    assert episode.query.equal(same.query)
    assert episode.support.equal(same.support)
    other = make_node(tmp_path, device(2, tmp_path / "images")).devices[0]
    assert not episode.query.equal(device_episode(other, 32).query)


def test_seeds_differ_by_round_device_and_request(tmp_path: Path, backbone_data: bytes) -> None:
    one, two = make_node(tmp_path, device(1, tmp_path), device(2, tmp_path)).devices
    seeds = {
        device_seed(request(backbone_data, seed=s, round=r), d) for s in (0, 1) for r in (0, 1) for d in (one, two)
    }
    assert len(seeds) == 8


def test_the_budget_is_the_class_or_the_override(mcunet, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    spec, full = mcunet.spec, full_train_backward_macs(mcunet.spec)
    own = [
        device(1, tmp_path),
        device(2, tmp_path, memory_bytes=123, compute_share=0.5),
        device(3, tmp_path, memory_bytes=0),
    ]
    granted, overridden, nothing = parse_node_config({"store": "s", "devices": own}, "test").devices
    assert device_budget(granted, spec) == device_profile("pi_4").budget(full, held_bytes=2 * spec.weights)
    budget = device_budget(overridden, spec)
    assert (budget.memory_bytes, budget.backward_macs) == (123, int(0.5 * full))
    with pytest.raises(BudgetError):
        device_budget(nothing, spec)
