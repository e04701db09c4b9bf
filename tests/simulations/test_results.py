"""The table of devices and rounds, out of the folder of a run."""

import json
from dataclasses import replace

import pytest

from server.results import MissingRecord, RoundRecord
from simulations.finished_run import read_run
from simulations.results.accounts import Accounts
from simulations.results.causes import OFFLINE, UNREPORTED, RoundCauses
from simulations.results.columns import COLUMNS
from simulations.results.table import device_rounds
from simulations.settings import load_settings
from tests.simulations.fleets import make_report
from tests.simulations.run_folders import (
    ASKED_DOWN,
    ASKED_UP,
    DOWN,
    ROUND_S,
    UP,
    Story,
    write_run,
)
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome, failure


def rows_of(out, **changes):
    """Each round's rows as mappings."""
    run = read_run(out)
    accounts = Accounts(**(vars(run.accounts) | changes))
    return [
        [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
        for columns in device_rounds(accounts)
    ]


def by_device(rows):
    return {row["device"]: row for row in rows}


def alone(nodes, count):
    """The first nodes with one device, as (node, device)."""
    found = [(partition, n.devices[0].number) for partition, n in enumerate(nodes) if len(n.devices) == 1]
    return found[:count]


def test_every_device_has_a_row_in_every_round(tmp_path):
    nodes = write_run(tmp_path / "run", settings=load_settings(None, {"devices": 12, "rounds": 2}))
    rounds = rows_of(tmp_path / "run")
    assert [[row["device"] for row in rows] for rows in rounds] == [list(range(1, 13))] * 2
    assert [{row["round"] for row in rows} for rows in rounds] == [{1}, {2}]
    assert all(list(row) == [column.name for column in COLUMNS] for row in rounds[0])
    hosts = {device.number: (partition, device.profile) for partition, n in enumerate(nodes) for device in n.devices}
    assert {row["device"]: (row["node"], row["device_class"]) for row in rounds[1]} == hosts
    assert all(row["reported"] == 1 and row["cause"] is None and row["byzantine"] == 0 for row in rounds[0])


def test_a_device_without_a_report_says_why_and_has_no_figures(tmp_path):
    nodes = write_run(tmp_path / "plain")
    (lost, first), (late, second), (refused, third), (away, fourth), (crashed, fifth) = alone(nodes, 5)
    gateway = next(partition for partition, n in enumerate(nodes) if len(n.devices) > 1)
    silent = nodes[gateway].devices[1].number
    causes = {lost: "battery", crashed: "worker died: exit code 1"}
    story = Story(causes=causes, late=(late,), refused=(refused,), away=(away,), silent=(silent,))
    write_run(tmp_path / "run", story)
    rows = by_device(rows_of(tmp_path / "run")[0])
    assert {device: rows[device]["cause"] for device in (first, second, third, fourth, fifth, silent)} == {
        first: "battery",
        second: "late",
        third: "refused",
        fourth: OFFLINE,
        fifth: "worker died: exit code 1",
        silent: UNREPORTED,
    }
    assert rows[first]["reported"] == 0
    assert rows[first]["accuracy_after"] is rows[first]["gain"] is rows[first]["time_s"] is None
    assert rows[second]["arrived_s"] > ROUND_S  # it came, too late
    assert rows[second]["time_s"] is None
    assert rows[fourth]["sent_s"] is None
    others = [row for device, row in rows.items() if device not in (first, second, third, fourth, fifth, silent)]
    assert others
    assert all(row["cause"] is None for row in others)


def test_a_row_against_numbers_by_hand(tmp_path):
    nodes = write_run(tmp_path / "run", Story(gains={1: 0.25}), load_settings(None, {"devices": 12, "rounds": 2}))
    row = by_device(rows_of(tmp_path / "run")[1])[1]
    host = next(n for n in nodes if any(device.number == 1 for device in n.devices))
    assert row["gain"] == pytest.approx(0.25)
    assert row["accuracy_in_use"] == row["accuracy_after"] == pytest.approx(0.41 + 0.25)
    assert (row["method"], row["outcome"], row["updated_channel_count"]) == ("tinytrain", "adapted", 1)
    assert row["round_start_s"] == ROUND_S
    assert (row["sent_s"], row["started_s"]) == (2.0, 3.0)
    slowest = max(10.0 + device.number for device in host.devices)
    assert (row["arrived_s"], row["time_s"]) == (2.0 + slowest, slowest)
    assert (row["compute_s"], row["energy_j"]) == (11.0, 2.0)
    assert row["family"] == device_profile(row["device_class"]).family
    assert (row["shots"], row["min_ways"], row["share_scheme"]) == (5, 5, "choice")


def test_the_bytes_of_a_gateway_are_shared_out_to_the_last(tmp_path):
    nodes = write_run(tmp_path / "run")
    rows = by_device(rows_of(tmp_path / "run")[0])
    gateway = next(n for n in nodes if len(n.devices) == 3)
    down = [rows[device.number]["down_bytes"] for device in gateway.devices]
    up = [rows[device.number]["up_bytes"] for device in gateway.devices]
    assert (sum(down), sum(up)) == (DOWN + ASKED_DOWN, UP + ASKED_UP)
    assert max(down) - min(down) == 1  # 1013 bytes in three parts
    assert max(up) - min(up) == 0  # 105
    total = sum(row["down_bytes"] for row in rows.values())
    assert total == read_run(tmp_path / "run").journeys.down_bytes == len(nodes) * (DOWN + ASKED_DOWN)


def test_who_keeps_the_base_uses_its_accuracy(tmp_path):
    write_run(tmp_path / "run", Story(gains={2: -0.1}))
    row = by_device(rows_of(tmp_path / "run")[0])[2]
    assert (row["outcome"], row["accuracy_in_use"]) == ("kept_base", row["accuracy_before"])
    assert row["gain"] == pytest.approx(-0.1)


def test_a_failure_is_a_report_without_accuracies_whose_cause_is_its_error(tmp_path):
    write_run(tmp_path / "run")
    run = read_run(tmp_path / "run")
    failed = failure(ErrorCode.BAD_IMAGE, device=3, profile=run.reports[2].profile, round_number=1)
    reports = [failed if report.device == 3 else report for report in run.reports]
    row = by_device(rows_of(tmp_path / "run", reports=reports)[0])[3]
    assert (row["reported"], row["outcome"], row["error"], row["cause"]) == (1, "failed", "bad_image", "bad_image")
    assert row["accuracy_before"] is row["accuracy_in_use"] is None


def test_two_reports_in_one_name_are_two_rows_and_what_was_spent_counts_once(tmp_path):
    write_run(tmp_path / "run")
    run = read_run(tmp_path / "run")
    lie = run.reports[0].model_copy(update={"accuracy_after": 1.0})
    rows = [row for row in rows_of(tmp_path / "run", reports=[*run.reports, lie])[0] if row["device"] == 1]
    assert len(rows) == 2
    assert [row["energy_j"] for row in rows] == [2.0, None]
    assert rows[1]["down_bytes"] is None


def test_a_report_of_a_device_that_nobody_hosts_has_no_node(tmp_path):
    write_run(tmp_path / "run")
    foreign = make_report(99, 2, 0.5, 0.6)
    row = by_device(rows_of(tmp_path / "run", reports=[*read_run(tmp_path / "run").reports, foreign])[0])[99]
    assert row["node"] is row["byzantine"] is row["data"] is None
    assert row["device_class"] == "stm32h743"


def test_the_simulation_knows_who_lies(tmp_path):
    settings = load_settings(None, {"devices": 12, "faults.byzantine": 0.5})
    write_run(tmp_path / "run", settings=settings)
    run, (rows,) = read_run(tmp_path / "run"), rows_of(tmp_path / "run")
    assert 0 < len(run.liars) < len(run.hosted.sizes)
    assert {row["node"] for row in rows if row["byzantine"]} == run.liars


def test_an_old_run_has_the_rows_of_its_reports(tmp_path):
    nodes = write_run(tmp_path / "run", Story(causes={0: "battery"}), old=True)
    (rows,) = rows_of(tmp_path / "run")
    lost = {device.number for device in nodes[0].devices}
    assert {row["device"] for row in rows} == set(range(1, 13)) - lost
    assert all(row["node"] is row["time_s"] is row["byzantine"] is None for row in rows)
    assert all(row["compute_s"] == row["estimated_s"] == 10.0 + row["device"] for row in rows)


def test_nodes_that_the_server_knows_by_other_names_share_their_cause():
    record = RoundRecord(nodes=("7490144767884145840",), missing=(), backbone_bytes_sent=0)
    assert RoundCauses.of(record, 4).of_node(0, None) == UNREPORTED
    missing = tuple(MissingRecord(node=str(2**60 + n), cause=cause) for n, cause in enumerate(("late", "failed")))
    assert RoundCauses.of(record.model_copy(update={"missing": missing}), 4).of_node(2, None) == "failed or late"


def test_outcomes_have_names_for_all(tmp_path):
    write_run(tmp_path / "run")
    run = read_run(tmp_path / "run")
    other = {"updated_weights": 0, "updated_channels": [0], "updated_layers": 0}
    reports = [r.model_copy(update={"outcome": int(Outcome.NOT_ADAPTED)} | other) for r in run.reports]
    (rows,) = rows_of(tmp_path / "run", reports=reports)
    assert {(row["outcome"], row["updated_channel_count"]) for row in rows} == {("not_adapted", 0)}
    assert all(row["accuracy_in_use"] == row["accuracy_before"] for row in rows)


def test_a_run_of_flowers_own_engine_knows_its_devices_but_no_journeys(tmp_path):
    nodes = write_run(tmp_path / "run", Story(causes={0: "crash"}))
    (tmp_path / "run" / "visits.jsonl").unlink()
    file = tmp_path / "run" / "run.json"
    told = json.loads(file.read_text())
    for entry in told["rounds"]:
        entry["nodes"] = [str(2**60 + int(node)) for node in entry["nodes"]]
        entry["missing"] = [{"node": str(2**60 + int(m["node"])), "cause": m["cause"]} for m in entry["missing"]]
    file.write_text(json.dumps(told))
    rows = by_device(rows_of(tmp_path / "run")[0])
    lost = {device.number for device in nodes[0].devices}
    assert {device: row["cause"] for device, row in rows.items() if row["cause"]} == dict.fromkeys(lost, "failed")
    assert all(rows[device]["compute_s"] is None and rows[device]["node"] == 0 for device in lost)
    assert read_run(tmp_path / "run").account.whole is None


def test_a_lie_in_an_honest_name_is_not_counted_as_honest(tmp_path):
    settings = load_settings(None, {"devices": 12, "faults.byzantine": 0.3, "faults.byzantine_kind": "foreign"})
    nodes = write_run(tmp_path / "run", settings=settings)
    liars = read_run(tmp_path / "run").liars
    silent, spoken, *_ = (node for node in range(len(nodes)) if node not in liars)
    write_run(tmp_path / "run", Story(causes={silent: "drop_out"}), settings)
    accounts = read_run(tmp_path / "run").accounts
    names = [nodes[node].devices[0].number for node in (silent, spoken)]
    lies = [make_report(name, 1, 0.0, 1.0) for name in names]
    honest = replace(accounts, reports=[*accounts.reports, *lies]).honest_reports
    known = {d.number for n, node in enumerate(nodes) if n not in {*liars, silent} for d in node.devices}
    assert liars
    assert {report.device for report in honest} == known - {names[1]}
    assert not any(report in honest for report in lies)
