import json
import random

import pytest
from rich.console import Console

from simulations.reporting import units
from simulations.reporting.figures import channel_shares
from simulations.reporting.html import verdict
from simulations.reporting.summary import UNKNOWN_CLASS, summarise
from simulations.reporting.table import as_json, plain_table, print_table
from tests.simulations.fleets import make_report
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome, failure
from tinytrain_core.statistics import Mean


def test_a_class_row_against_numbers_by_hand():
    reports = [
        make_report(0, 2, 0.5, 0.7, live_memory_bytes=900, backward_macs=10, estimated_s=1.0, estimated_j=2.0),
        make_report(1, 2, 0.6, 0.5, live_memory_bytes=100, backward_macs=30, estimated_s=3.0, estimated_j=6.0),
        failure(ErrorCode.TOO_FEW_CLASSES, device=2, profile=2, round_number=1),
    ]
    (row,) = summarise(reports).rows
    assert (row.title, row.devices, row.failed) == ("STM32H743", 3, 1)
    assert row.before.mean == pytest.approx(0.55)
    assert row.after.mean == pytest.approx(0.6)
    assert row.gain.mean == pytest.approx(0.05)
    assert row.gain.interval == pytest.approx(12.7062 * 0.15, rel=1e-4)  # t(0.975, 1) x s / sqrt(2)
    assert row.worse_share == 0.5
    assert row.worse_interval == pytest.approx((0.0945, 0.9055), abs=1e-4)
    assert (row.worst_decile, row.worst_threshold) == pytest.approx((-0.1, -0.07))
    assert row.outcomes == {"adapted": 1, "kept_base": 1, "failed": 1}
    assert row.memory_share == pytest.approx(0.9)
    assert row.backward_share == pytest.approx(0.2)
    assert (row.estimated_s, row.estimated_j, row.over_budget) == (2.0, 4.0, 0)
    assert summarise(reports).errors == {"too_few_classes": 1}


def test_a_device_that_cannot_afford_anything_counts_for_accuracy_but_not_for_costs():
    broke = make_report(
        1, 1, 0.4, 0.4, outcome=int(Outcome.CANNOT_AFFORD), live_memory_bytes=5000, estimated_s=0.0, backward_macs=0
    )
    fleet = summarise([make_report(0, 1, 0.5, 0.7), broke]).fleet
    assert fleet.gain.mean == pytest.approx(0.1)
    assert (fleet.over_budget, fleet.memory_share, fleet.estimated_s) == (0, 0.5, 2.0)


def test_the_worst_tenth_is_the_mean_of_those_that_gained_least():
    gains = [points / 100 for points in range(-10, 30) if points]
    fleet = summarise([make_report(n, 2, 0.5, 0.5 + gain) for n, gain in enumerate(gains, start=1)]).fleet
    assert fleet.worst_decile == pytest.approx((-0.10 - 0.09 - 0.08) / 3)
    assert fleet.worst_threshold == pytest.approx(-0.062)  # between the fourth and the fifth of 39


def test_a_device_over_its_budget_is_counted():
    assert summarise([make_report(0, 1, 0.5, 0.6, live_memory_bytes=1001)]).fleet.over_budget == 1


def test_a_device_counts_once_by_its_last_round_in_any_order():
    reports = [make_report(1, 2, 0.5, 0.6, round=1), make_report(1, 2, 0.5, 0.9, round=2), make_report(2, 2, 0.5, 0.5)]
    shuffled = list(reports)
    random.Random(3).shuffle(shuffled)
    summary = summarise(shuffled)
    assert summary == summarise(reports)
    assert summary.fleet.devices == 2
    assert summary.fleet.after.mean == pytest.approx(0.7)


def test_an_unknown_device_replaces_nobody():
    unknown = [failure(ErrorCode.CONFIGURATION, round_number=number) for number in (1, 2, 2)]
    real = [make_report(1, 2, 0.5, 0.6, round=1), make_report(2, 2, 0.5, 0.9, round=2)]
    fleet = summarise([*real, *unknown]).fleet
    assert (fleet.devices, fleet.failed) == (4, 2)  # of the unknown, those of the last round
    assert fleet.after.mean == pytest.approx(0.75)


def test_two_devices_of_one_number_both_count():
    fleet = summarise([make_report(1, 2, 0.5, 0.6), failure(ErrorCode.NO_IMAGES, 1, 2, 1)]).fleet
    assert (fleet.devices, fleet.failed) == (2, 1)
    assert fleet.after.mean == pytest.approx(0.6)


def test_rows_follow_the_catalogue_and_unknown_classes_say_so():
    titles = [row.title for row in summarise([make_report(0, 6, 0.5, 0.5), make_report(1, 99, 0.5, 0.5)]).rows]
    assert titles == ["Jetson Nano", UNKNOWN_CLASS]


def test_a_verdict_is_as_strong_as_its_interval():
    gains = summarise([make_report(i, 1, 0.5, 0.6 + i / 100) for i in range(6)]).fleet
    mixed = summarise([make_report(i, 1, 0.5, after) for i, after in enumerate((0.9, 0.4, 0.5))]).fleet
    losses = summarise([make_report(i, 1, 0.5, 0.4 - i / 100) for i in range(6)]).fleet
    assert [verdict(row)[1] for row in (gains, mixed, losses)] == ["good", "", "bad"]
    assert "includes 0" in verdict(mixed)[0]
    assert verdict(summarise([]).fleet)[1] == "bad"
    two = summarise([make_report(i, 1, 0.5, 0.6 + i / 10) for i in range(2)]).fleet
    assert verdict(two) == ("2 devices: too few for an interval.", "")


def test_that_no_update_fits_is_said_only_of_those_that_no_update_fits():
    broke = make_report(1, 1, 0.4, 0.4, outcome=int(Outcome.CANNOT_AFFORD))
    unwilling = make_report(1, 1, 0.4, 0.4, outcome=int(Outcome.NOT_ADAPTED))
    failed = failure(ErrorCode.NO_IMAGES, device=1, profile=1)
    said = ["none fits" in plain_table(summarise(reports)) for reports in ([broke], [unwilling], [failed], [])]
    assert said == [True, False, False, False]


def test_the_plain_table_is_aligned_and_whole():
    reports = [make_report(i, 1 + i % 3, 0.5, 0.6) for i in range(6)]
    lines = plain_table(summarise(reports)).splitlines()
    assert len(lines) == 1 + 3 + 1
    assert len({len(line) for line in lines}) == 1
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("width", [80, 160])
def test_the_terminal_table_cuts_no_number(width):
    console = Console(force_terminal=True, width=width, record=True, file=open_null())
    print_table(summarise([make_report(i, 4, 0.512 + i / 10, 0.634) for i in range(3)]), console)
    text = console.export_text()
    assert "…" not in text
    assert "61.2" in text


def open_null():
    import io

    return io.StringIO()


def test_json_holds_the_same_numbers():
    parsed = json.loads(as_json(summarise([make_report(0, 2, 0.5, 0.75)]), {"report": "x"}))
    assert parsed["fleet"]["gain"]["mean"] == 0.25
    assert parsed["report"] == "x"


def test_channel_shares_average_over_devices():
    spec = load_spec("mcunet-5fps")
    channels = [0] * len(spec.convs)
    channels[-1] = spec.convs[-1].out_channels
    chosen = make_report(0, 2, 0.5, 0.6, updated_channels=channels)
    untouched = make_report(1, 2, 0.5, 0.6, updated_channels=[0] * len(spec.convs))
    shares = channel_shares(spec, [chosen, untouched])
    assert shares[-1] == 0.5
    assert sum(shares) == 0.5
    assert channel_shares(spec, []) == [0.0] * len(spec.convs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.bytes_text(0), "0 B"),
        (units.bytes_text(1023), "1023 B"),
        (units.bytes_text(983_040), "960 KiB"),
        (units.bytes_text(2**30), "1.00 GiB"),
        (units.count_text(999), "999"),
        (units.count_text(128_400), "128 k"),
        (units.seconds_text(0.0123), "12.3 ms"),
        (units.seconds_text(180), "3.0 min"),
        (units.joules_text(1500), "1.50 kJ"),
        (units.seconds_text(7200), "2.0 h"),
        (units.percent_text(None), "–"),
        (units.percent_text(0.998), "99.8 %"),
        (units.percent_text(1.0), "100 %"),
        (units.percent_text(0.1234, 1), "12.3 %"),
        (units.percent_text(0.0004, 1), "0.04 %"),
        (units.percent_text(1e-5), "0.001 %"),
        (units.percent_text(0.99999, 1), "99.999 %"),
        (units.percent_text(0.0), "0 %"),
        (units.counted(1, "class", "classes"), "1 class"),
        (units.counted(3, "node"), "3 nodes"),
    ],
)
def test_numbers_as_text(text, expected):
    assert text == expected


def test_a_loss_has_a_real_minus_sign():
    assert units.gain_text(Mean.of([-0.1] * 3)) == "−10.0 ± 0.0"


def test_an_interval_of_two_is_not_shown():
    assert units.accuracy_text(Mean.of([0.25, 0.75])) == "50.0"
    assert units.accuracy_text(Mean.of([0.25, 0.5, 0.75])) == "50.0 ± 62.1"
