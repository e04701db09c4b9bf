from typing import Any

import pytest

from client.egress import check_devices, check_reply
from tinytrain_core.errors import EgressError, ErrorCode
from tinytrain_core.report import MAX_LAYERS, failure
from tinytrain_core.wire import NodeProfile

SECRET = "a-private-name"
REPORT = failure(ErrorCode.NO_IMAGES, device=4, profile=2, round_number=1).model_dump()
PROFILE = NodeProfile(devices=2, holds_backbone=1).model_dump()


def test_reports_and_profiles_may_leave() -> None:
    reports = check_reply([], {"device-1": REPORT | {"device": 5}, "device-0": REPORT}, [])
    assert isinstance(reports, list)
    assert [report.device for report in reports] == [4, 5]
    assert check_reply([], {"profile": PROFILE}, []) == NodeProfile(devices=2, holds_backbone=1)


@pytest.mark.parametrize(
    "change",
    [
        {SECRET: 1},
        {"accuracy_after": SECRET},
        {"accuracy_after": SECRET.encode()},
        {"accuracy_after": float("nan")},
        {"loss_last": float("inf")},
        {"accuracy_after": 1.01},
        {"accuracy_after": [0.1, 0.2]},
        {"wall_s": -1.0},
        {"steps": -1},
        {"steps": 2**31},
        {"steps": 1.5},
        {"steps": True},
        {"outcome": 0},
        {"outcome": 6},
        {"error": 100},
        {"updated_channels": []},
        {"updated_channels": [1] * (MAX_LAYERS + 1)},
        {"updated_channels": [0.25, 0.5]},
        {"updated_channels": [-1]},
        {"schema_version": 1},
    ],
)
def test_a_report_with_anything_else_is_stopped(change: dict[str, Any]) -> None:
    with pytest.raises(EgressError) as error:
        check_reply([], {"device-0": REPORT | change}, [])
    assert all(str(value) not in str(error.value) for value in change.values() if isinstance(value, str | bytes))


@pytest.mark.parametrize("field", sorted(REPORT))
def test_a_report_that_lacks_a_field_is_stopped(field: str) -> None:
    with pytest.raises(EgressError, match=field):
        check_reply([], {"device-0": {name: value for name, value in REPORT.items() if name != field}}, [])


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"device-0": {}},
        {"device-1": REPORT},
        {"device-0": REPORT, "device-2": REPORT},
        {"device-00": REPORT},
        {SECRET: REPORT},
        {"device-0": REPORT, SECRET: REPORT},
        {"device-0": REPORT, "profile": PROFILE},
        {"profile": PROFILE | {SECRET: 1}},
        {"profile": {"devices": -1, "holds_backbone": 0, "protocol": 3}},
        {"profile": PROFILE | {"devices": 2.0}},
    ],
)
def test_wrong_records_are_stopped(metrics: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(EgressError):
        check_reply([], metrics, [])


@pytest.mark.parametrize(("arrays", "configs"), [(["weights"], []), ([], ["settings"])])
def test_arrays_and_configs_are_stopped_beside_a_valid_report(arrays: list[str], configs: list[str]) -> None:
    with pytest.raises(EgressError, match="may leave"):
        check_reply(arrays, {"device-0": REPORT}, configs)


def test_only_the_nodes_own_devices_are_reported() -> None:
    reports = [failure(ErrorCode.INTERNAL, device=4), failure(ErrorCode.INTERNAL, device=7)]
    assert check_devices(reports, [4, 7]) == reports
    for devices in ([4], [7, 4], [4, 8], [4, 7, 8]):
        with pytest.raises(EgressError):
            check_devices(reports, devices)
    with pytest.raises(EgressError):
        check_devices(NodeProfile(devices=3, holds_backbone=0), [4, 7])
