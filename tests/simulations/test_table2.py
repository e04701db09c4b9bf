"""Table 2 to the digit: what the paper prints, and what the reference's calculations give."""

import csv
import json
import re
import sys
from xml.etree import ElementTree

import pytest
import typer

from simulations.studies import published
from simulations.studies.cost_commands import table2
from simulations.studies.table2 import FORWARD, METHODS, TINYTRAIN, Row, methods_of, rows
from simulations.studies.table2_figure import drawings
from simulations.studies.table2_notes import NOTES, Notes
from simulations.studies.table2_sections import records, section
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.fewshot.example_tasks import example_task
from tinytrain_core.seeds import Draw
from tinytrain_core.selection.cost import MIB, study_budget

MCUNET, MBV2, PROXYLESS = "mcunet-5fps", "mbv2-w0.35", "proxyless-w0.3"


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Row]:
    tasks = [example_task("glyphs", 128, Draw.EVALUATION, 0, number) for number in range(2)]
    made = [row for name in published.backbones() for row in rows(name, from_bytes(read_bytes(name)), tasks, print)]
    return {(row.backbone, row.method): row for row in made}


@pytest.mark.parametrize(
    ("method", "mcunet", "mbv2", "proxyless"),
    [
        (FORWARD, "0.625", "0.875", "0.500"),
        ("full_train", "902.5", "1045.1", "854.3"),
        ("last_layer", "2.031", "1.641", "1.0625"),
        ("sparse_update", "1.426", "1.728", "1.461"),
    ],
)
def test_memory_to_the_digit(found, method, mcunet, mbv2, proxyless):
    for backbone, expected in ((MCUNET, mcunet), (MBV2, mbv2), (PROXYLESS, proxyless)):
        digits = len(expected.partition(".")[2])
        assert f"{found[backbone, method].memory_mib.ours.mean:.{digits}f}" == expected


@pytest.mark.parametrize(
    ("method", "mcunet", "mbv2", "proxyless"),
    [
        (FORWARD, "22.453504", "17.449728", "19.209728"),
        ("full_train", "44.907", "34.899", "38.419"),
        ("last_layer", "1.475", "0.803", "0.590"),
        ("tinytl", "26.53", "18.64", "22.79"),
        ("sparse_update", "11.88", "8.46", "7.90"),
    ],
)
def test_macs_to_the_digit(found, method, mcunet, mbv2, proxyless):
    for backbone, expected in ((MCUNET, mcunet), (MBV2, mbv2), (PROXYLESS, proxyless)):
        digits = len(expected.partition(".")[2])
        assert f"{found[backbone, method].backward_mmacs.ours.mean:.{digits}f}" == expected


def test_which_cells_are_the_papers_to_its_last_digit(found):
    memory = {key for key, row in found.items() if row.memory_mib.exact}
    compute = {key for key, row in found.items() if row.backward_mmacs.exact}
    last_layers = {(backbone, "last_layer") for backbone in published.backbones()}
    full_trains = {(backbone, "full_train") for backbone in published.backbones()}
    assert memory == last_layers | {(MCUNET, "sparse_update")}
    assert compute == full_trains | last_layers - {(MCUNET, "last_layer")} | {(MCUNET, "sparse_update")}


@pytest.mark.parametrize(
    ("backbone", "method", "quantity", "per_cent"),
    [
        (MCUNET, "full_train", "memory_mib", -0.39),
        (MBV2, "full_train", "memory_mib", -0.37),
        (PROXYLESS, "full_train", "memory_mib", -0.32),
        (MCUNET, "last_layer", "backward_mmacs", -6.1),
        (MBV2, "sparse_update", "memory_mib", -17),
        (PROXYLESS, "sparse_update", "memory_mib", -16),
        (MBV2, "sparse_update", "backward_mmacs", 4.4),
        (PROXYLESS, "sparse_update", "backward_mmacs", 4.0),
        (MCUNET, "tinytl", "backward_mmacs", 0.5),
        (MBV2, "tinytl", "backward_mmacs", 14),
        (PROXYLESS, "tinytl", "backward_mmacs", 28),
    ],
)
def test_residuals_of_the_rest(found, backbone, method, quantity, per_cent):
    digits = len(f"{per_cent}".partition(".")[2])
    assert round(100 * getattr(found[backbone, method], quantity).residual, digits) == per_cent


def test_strictly_a_chain_goes_on_to_the_earliest_bias(found):
    strict = [found[name, "sparse_update"].strict_mmacs.mean for name in published.backbones()]
    assert [f"{value:.2f}" for value in strict] == ["12.29", "8.68", "8.10"]


def test_what_the_selector_chooses_is_within_the_papers_budget(found):
    for name in published.backbones():
        row, budget = found[name, TINYTRAIN], study_budget(load_spec(name))
        assert 0 < row.memory_mib.ours.high * MIB <= budget.paper_bytes
        assert 0 < row.backward_mmacs.ours.high * 1e6 <= budget.backward_macs
        assert row.memory_mib.ours.low <= row.memory_mib.ours.mean <= row.memory_mib.ours.high


def test_what_the_engine_has_alive(found):
    for row in found.values():
        assert 0 < row.one_alive_mib.mean < row.all_alive_mib.mean
    for name in published.backbones():  # one image of 25, then the memory of a microcontroller
        assert found[name, TINYTRAIN].one_alive_mib.mean < 1
        assert found[name, "last_layer"].all_alive_mib.mean < found[name, "full_train"].all_alive_mib.mean


def test_fewer_adapters_cost_less(found):
    for name in published.backbones():
        shares = [found[name, f"adapter_drop:share={share}"] for share in (25, 50, 75)]
        for quantity in ("memory_mib", "backward_mmacs"):
            values = [getattr(row, quantity).ours.mean for row in (found[name, "tinytl"], *shares)]
            assert values == sorted(values, reverse=True)
            assert getattr(shares[0], quantity).paper is None


def test_every_cell_that_does_not_match_has_a_note(found):
    table = section(list(found.values()))
    for texts in table.rows:
        for residual in (texts[4], texts[7]):
            assert residual in ("exact", "–") or re.search(r" % \([a-h]\)$", residual)
    letters = {line[:3] for line in table.notes if line.startswith("(")}
    assert letters == {f"({letter})" for letter in Notes.on(list(found.values())).letters.values()}
    assert len(letters) == len(NOTES)
    alone = section([found[MCUNET, "sparse_update"]])
    assert not any(line.startswith("(") for line in alone.notes)


def test_an_architecture_that_the_paper_does_not_have():
    assert "sparse_update" not in methods_of(load_spec("mbv2-w0.35-nomix"))
    assert methods_of(load_spec(MBV2)) == METHODS


def test_a_plot_has_every_row(found):
    for drawing in drawings(list(found.values())).values():
        (axes,) = drawing.axes
        words = [text.get_text() for text in axes.texts]
        assert words.count("TinyTrain") == len(published.backbones())
        assert words.count("exact") == 4 if "MiB" in axes.get_xlabel() else words.count("exact") == 6
    assert len(records(list(found.values()))) == len(found)


def test_the_command_writes_everything(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tinytrain-sim", "table2"])
    app = typer.Typer()
    app.command()(table2)
    app(
        ["--backbone", f"mine={MCUNET}", "--tasks", "1", "--out", str(tmp_path), "--format", "json"],
        standalone_mode=False,
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["tasks"] == 1
    assert [row["method"] for row in printed["rows"]] == [FORWARD, *METHODS]
    lines = list(csv.DictReader((tmp_path / "table2.csv").read_text().splitlines()))
    assert [line["backbone"] for line in lines] == ["mine"] * (1 + len(METHODS))
    assert float(lines[1]["memory_mib"]) == pytest.approx(902.478, abs=1e-3)
    for name in ("table2-memory.svg", "table2-macs.svg"):
        ElementTree.parse(tmp_path / name)
    assert "<svg" in (tmp_path / "table2.html").read_text()
    assert "902.5" in (tmp_path / "table2.txt").read_text()
