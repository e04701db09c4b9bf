"""Averages over backbones, what the paper prints, and the shares of equal choices."""

import re

import pytest

from simulations.studies.cell import ALL_BACKBONES
from tests.simulations.test_table1_cells import AFTER, as_text, cell, findings, line, lines, page
from tinytrain_core.statistics import mean_of_means

BACKBONES = ["net=mcunet-5fps", "mbv2-w0.35"]
SHIFTS = (0.1, 0.0, -0.1)  # of tinytrain on the second backbone, task by task


def two_backbones() -> list[str]:
    """The same on a second backbone, where tinytrain does otherwise."""
    values = AFTER | {
        key: tuple(round(v + s, 3) for v, s in zip(AFTER[key], SHIFTS, strict=True))
        for key in AFTER
        if key[1] == "tinytrain"
    }
    more = [
        line(d, m, n, after, backbone="mbv2-w0.35") for (d, m), found in values.items() for n, after in enumerate(found)
    ]
    return lines() + more


def overall(found, name):
    (only,) = [c for c in found.cells if (c.backbone, c.name) == (ALL_BACKBONES, name)]
    return only


def test_all_backbones_are_averaged_task_by_task_before_any_spread_is_taken(tmp_path):
    found = overall(findings(tmp_path, two_backbones(), backbones=BACKBONES), "tinytrain")
    differences = {"Omniglot": (0.0, 0.2, 0.4), "GTSRB": (0.2, 0.2, 0.2)}
    halved = [[d + s / 2 for d, s in zip(values, SHIFTS, strict=True)] for values in differences.values()]
    expected = mean_of_means(halved)
    assert (found.difference, found.difference_interval) == pytest.approx((expected.mean, expected.interval))
    assert found.difference_p == pytest.approx(expected.p_value)
    assert (found.data, found.tasks) == ("average", 6)
    assert found.accuracy == pytest.approx(0.8)


def test_all_backbones_have_the_tasks_that_all_of_them_have(tmp_path):
    less = [each for each in two_backbones() if not each.startswith("test,Omniglot,mbv2-w0.35,meta,none,none,0.0,2")]
    assert overall(findings(tmp_path, less, backbones=BACKBONES), "none").tasks == 5
    none = [each for each in two_backbones() if not each.startswith("test,GTSRB,mbv2-w0.35")]
    found = findings(tmp_path, none, backbones=BACKBONES)
    assert not any(c.backbone == ALL_BACKBONES for c in found.cells)
    one = findings(tmp_path, two_backbones(), backbones=BACKBONES, data=["Omniglot"], validation=["GTSRB"])
    assert (overall(one, "tinytrain").data, overall(one, "tinytrain").tasks) == ("Omniglot", 3)


def test_a_page_of_several_backbones_is_whole(tmp_path):
    text = page(findings(tmp_path, two_backbones(), backbones=BACKBONES))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert "all backbones, average" in text
    assert "Each task" not in as_text(findings(tmp_path))


def test_the_papers_figure_stands_beside_ours_where_the_labels_are_its_names(tmp_path):
    renamed = [each.replace(",net,", ",mcunet-5fps,") for each in lines()]
    found = findings(tmp_path, renamed, backbones=["mcunet-5fps"])
    ours, both = cell(found, "Omniglot", "tinytrain"), cell(found, "average", "tinytrain")
    assert (ours.paper, ours.residual) == pytest.approx((0.738, 0.7 - 0.738))
    assert both.paper == pytest.approx((0.738 + 0.793) / 2)
    text = as_text(found)
    assert "73.8 (−3.8)" in text
    assert "for orientation only" in text
    assert "average of its nine domains" in " ".join(text.split())
    assert "69.3" in text


def test_other_labels_have_no_figure_of_the_paper(tmp_path):
    found = findings(tmp_path)
    assert {c.paper for c in found.cells} == {None}
    assert "paper, %" not in as_text(found)


def test_the_papers_own_comparison_has_its_figures_too(tmp_path):
    renamed = [each.replace(",net,", ",mcunet-5fps,") for each in lines()]
    plain = [each.replace(",meta,", ",plain,") for each in renamed]
    found = findings(tmp_path, renamed + plain, backbones=["mcunet-5fps"], plain=["mcunet-5fps"])
    assert cell(found, "GTSRB", "full_train", "paper").paper == pytest.approx(0.82)


def test_equal_choices_are_counted_whatever_their_channels(tmp_path):
    layers = ("1:2 5:8", "1:4 5:2", "1:2")
    content = [each for each in lines() if ",tinytrain," not in each or "GTSRB" in each]
    content += [
        line("Omniglot", "tinytrain", n, 0.7, layers=text, live_memory_bytes=2**21) for n, text in enumerate(layers)
    ]
    found = findings(tmp_path, content)
    assert cell(found, "Omniglot", "tinytrain").same_layers == 2
    assert cell(found, "Omniglot", "full_train").same_layers is None
    assert cell(found, "Omniglot", "tinytrain").live_memory_mib == 2
    assert "identical layers in 2 of 3 tasks" in as_text(found)
