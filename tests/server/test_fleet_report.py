"""`fleet report`: the figures out of a real database, in every form."""

import csv
import io
import json
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from server.fleet.reports.cli import app
from tests.server.fleet_store import DAY_S, NOW_S, add_report, add_rollout, failed, good, make_fleet, opened
from tinytrain_core.errors import ConfigurationError, StorageError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def report(folder: Path, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(run("report", "--fleet", str(folder), "--format", "json", *arguments)))


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Two releases on six Pis and two phones; the second release's reports are of today."""
    folder, now_s = make_fleet(tmp_path / "fleet"), time.time()
    with opened(folder) as database:
        spring, summer = add_rollout(database, "spring", 1), add_rollout(database, "summer", 2)
        for device in range(1, 7):
            add_report(database, good(device, after=0.6), 1, spring, now_s - 10 * DAY_S)
            add_report(database, good(device, after=0.7), 2, summer, now_s - 120)
        add_report(database, failed(6), 2, summer, now_s - 60)
        for device in (11, 12):
            add_report(database, good(device, "phone"), 2, summer, now_s - 60)
    return folder


def test_by_release_and_class(fleet: Path) -> None:
    found = report(fleet)
    assert found["by"] == ["release", "class"]
    assert [(g["release"], g["class"], g["devices"]) for g in found["groups"]] == [
        (1, "pi_4", 6),
        (2, "phone", "of fewer than 5 nodes"),
        (2, "pi_4", 6),
    ]
    spring, _, summer = found["groups"]
    assert (spring["gain"]["mean"], spring["gain"]["devices"]) == (pytest.approx(0.1), 6)
    assert (summer["gain"]["mean"], summer["gain"]["devices"], summer["reports"]) == (pytest.approx(0.2), 5, 7)
    assert summer["errors"] == {"no images": 1}
    assert found["total"] is None


@pytest.mark.parametrize(
    ("filters", "devices"),
    [
        (["--release", "1"], {1: 6}),
        (["--rollout", "summer"], {2: 8}),
        (["--since", "7d"], {2: 8}),
        (["--since", "4w"], {1: 6, 2: 8}),
        (["--release", "9"], {}),
    ],
)
def test_filters(fleet: Path, filters: list[str], devices: dict[int, int]) -> None:
    found = report(fleet, "--by", "release", *filters)
    assert {group["release"]: group["devices"] for group in found["groups"]} == devices


def test_filters_do_not_single_a_device_out(fleet: Path) -> None:
    found = report(fleet, "--by", "day", "--since", "1d", "--rollout", "summer", "--by", "class")["groups"]
    (phones,) = [group for group in found if group["class"] == "phone"]
    assert phones["devices"] == "of fewer than 5 nodes"
    assert set(phones) == {"day", "class", "devices"}


def test_csv_has_a_column_for_everything(fleet: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("report", "--fleet", str(fleet), "--format", "csv"))))
    assert [row["devices"] for row in rows] == ["6", "of fewer than 5 nodes", "6"]
    assert float(rows[0]["gain_mean"]) == pytest.approx(0.1)
    assert rows[2]["errors"] == "1 no images"
    assert {value for name, value in rows[1].items() if name not in ("release", "class", "devices")} == {""}


def test_the_table_says_what_counts(fleet: Path) -> None:
    text = " ".join(run("report", "--fleet", str(fleet)).split())
    assert "fewer than 5" in text
    assert "+20.0±0.0" in text
    assert "Of each device in a group its last report counts, once." in text
    assert "no report has come yet" in run("report", "--fleet", str(fleet), "--release", "9")


class _Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.plots: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [str(found[name]) for name in ("src", "href") if name in found]
        if tag == "svg":
            self.plots.append(str(found["aria-label"]))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("by", "first"),
    [([], "What personalising gains"), (["--by", "day"], "What personalising gains by day, points of accuracy")],
)
def test_the_page_is_whole_and_needs_nothing_else(fleet: Path, tmp_path: Path, by: list[str], first: str) -> None:
    file = tmp_path / "page.html"
    run("report", "--fleet", str(fleet), *by, "--html", str(file))
    page = _Page(file.read_text(encoding="utf-8"))
    assert page.open == []
    assert page.links == []
    assert len(page.plots) == 6
    assert page.plots[0] == first
    assert "nan" not in file.read_text(encoding="utf-8")


def test_a_page_without_a_group_large_enough(tmp_path: Path) -> None:
    folder, file = make_fleet(tmp_path / "fleet", minimum_cohort=3), tmp_path / "page.html"
    with opened(folder) as database:
        add_report(database, good(1, before=0.123, after=0.456), received_s=NOW_S)
    run("report", "--fleet", str(folder), "--html", str(file))
    text = file.read_text(encoding="utf-8")
    assert _Page(text).plots == []
    assert "fewer than 3" in text
    assert "12.3" not in text


def test_what_is_wrong_is_said(fleet: Path) -> None:
    with pytest.raises(ConfigurationError, match="no rollout is called 'autumn'; the latest are summer, spring"):
        run("report", "--fleet", str(fleet), "--rollout", "autumn")
    with pytest.raises(ConfigurationError, match="'soon' is not a time"):
        run("report", "--fleet", str(fleet), "--since", "soon")
    with opened(fleet) as database, database.transaction() as connection:
        connection.execute("UPDATE reports SET fields = '{\"schema_version\": 9}' WHERE device = 11")
    with pytest.raises(StorageError, match="a report of device 11"):
        run("report", "--fleet", str(fleet))
