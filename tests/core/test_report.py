"""The report and the messages are closed: numbers within bounds, and nothing else."""

import math
from typing import Any

import pytest

from tinytrain_core.devices.estimate import estimate
from tinytrain_core.devices.profile import catalogue, device_profile, profile_by_number
from tinytrain_core.errors import ConfigurationError, EgressError, ErrorCode, RequestError, TinyTrainError
from tinytrain_core.report import Outcome, PersonalisationReport, failure, validate_report
from tinytrain_core.wire import NodeProfile, PersonaliseRequest, parse_request, report_record, validate_metrics

GOOD = PersonalisationReport(device=3, accuracy_before=0.5, updated_layers=1, updated_channels=[0, 4]).model_dump()


def test_a_report_survives_its_own_validation() -> None:
    assert validate_report(GOOD).model_dump() == GOOD
    assert all(isinstance(v, int | float | list) for v in GOOD.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accuracy_before", math.nan),
        ("accuracy_before", math.inf),
        ("accuracy_after", 1.5),
        ("accuracy_after", -0.1),
        ("device", -1),
        ("device", 2**31),
        ("device", True),
        ("device", 1.0),
        ("device", "7"),
        ("device", b"7"),
        ("outcome", 0),
        ("outcome", 7),
        ("error", 100),
        ("error", 37),
        ("method", 100),
        ("steps", 10_001),
        ("updated_channels", [2**31 - 1, 0]),
        ("updated_channels", [0.5]),
        ("updated_channels", [1] * 129),
        ("updated_channels", []),
        ("schema_version", 1),
        ("live_memory_bytes", 2**51),
        ("estimated_s", [1.0]),
        ("secret", 1),
    ],
)
def test_anything_else_is_refused_without_its_value(field: str, value: Any) -> None:
    with pytest.raises(EgressError) as caught:
        validate_report(GOOD | {field: value})
    assert field in str(caught.value)
    assert str(caught.value) == f"not a valid report (schema 2): {field}"


@pytest.mark.parametrize("change", [{"updated_layers": 2}, {"error": 13, "outcome": 1}])
def test_fields_that_contradict_each_other_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(EgressError):
        validate_report(GOOD | change)


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(EgressError, match="lacks ways"):
        validate_report({k: v for k, v in GOOD.items() if k != "ways"})


def test_a_reply_is_a_profile_or_reports() -> None:
    reports = {report_record(i): GOOD for i in range(2)}
    assert len(validate_metrics(reports)) == 2  # type: ignore[arg-type]
    profile = {"profile": NodeProfile(devices=2, holds_backbone=1).model_dump()}
    assert validate_metrics(profile) == NodeProfile(devices=2, holds_backbone=1)
    wrong: list[dict[str, Any]] = [
        {},
        {"device-1": GOOD},
        {"device-0": GOOD, "device-2": GOOD},
        {"device-00": GOOD},
        {"cat": GOOD},
        reports | profile,
        {"profile": {"protocol": 3, "devices": 2, "holds_backbone": 2}},
        {"profile": {"protocol": 3, "devices": 2, "holds_backbone": 1, "name": 3}},
    ]
    for records in wrong:
        with pytest.raises(EgressError):
            validate_metrics(records)


def test_requests_are_closed_too() -> None:
    fields = PersonaliseRequest(digest="0" * 64).model_dump()
    assert parse_request(PersonaliseRequest, fields).method == "tinytrain"
    for change in ({"digest": "xyz"}, {"protocol": 1}, {"steps": -1}, {"extra": 1}, {"method": "../x"}):
        with pytest.raises(RequestError, match=next(iter(change))):
            parse_request(PersonaliseRequest, fields | change)


def test_failures_carry_a_number_only() -> None:
    report = failure(ErrorCode.BAD_IMAGE, device=4, profile=2, round_number=1)
    assert (report.outcome, report.error, report.device) == (Outcome.FAILED, 13, 4)


def test_every_error_has_a_code_and_an_exit_code() -> None:
    def below(kind: type[TinyTrainError]) -> list[type[TinyTrainError]]:
        return [kind, *(k for child in kind.__subclasses__() for k in below(child))]

    assert all(kind.exit_code > 0 and isinstance(kind.code, ErrorCode) for kind in below(TinyTrainError))


def test_the_catalogue_has_sources_and_distinct_numbers() -> None:
    profiles = catalogue().values()
    assert {"stm32h743", "esp32s3", "pi_zero_2w", "pi_4", "jetson_nano", "phone"} <= set(catalogue())
    assert len({p.number for p in profiles}) == len(catalogue())
    assert all(0 < p.memory_bytes < p.ram_bytes.value for p in profiles)
    assert profile_by_number(2) is device_profile("stm32h743")
    assert profile_by_number(999) is None
    with pytest.raises(ConfigurationError, match="stm32h743"):
        device_profile("toaster")


def test_estimates_by_hand() -> None:
    """FullTrain's 40 iterations on 50 passes of MCUNet on a Pi Zero 2 W, without the paper's swapping."""
    macs = 2000 * 3 * 22_453_504
    found = estimate(device_profile("pi_zero_2w"), macs)
    assert found.time_s == pytest.approx(macs / 105e6)
    assert found.energy_j == pytest.approx(found.time_s * 2.16)
