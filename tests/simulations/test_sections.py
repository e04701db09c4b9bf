import io
import re

from rich.console import Console

from simulations.reporting import sections as module
from simulations.reporting.sections import Page, Section, print_sections, render_page, sections_text
from simulations.reporting.svg import ACCENT, INK, new_axes, to_file

SECTION = Section(
    "Costs [of a pass]",
    ("backbone", "method", "MiB,\nours", "MiB,\npaper", "MMACs"),
    [("a", "x", "1.0\n0.9 to 1.1", "1.1", "7"), ("a", "y", "2.0", "–", "8"), ("b", "x", "3.0", "3.0", "9")],
    notes=("(a) a note. " * 20,),
)


def test_plain_text_has_every_cell_and_a_group_only_once():
    text = sections_text([SECTION])
    assert text.startswith("Costs [of a pass]\n")
    for word in ("0.9 to 1.1", "3.0", "MMACs"):
        assert word in text
    assert len(re.findall(r"^ a ", text, re.MULTILINE)) == 1
    assert max(map(len, text.splitlines())) <= module.NOTE_WIDTH


def test_a_narrow_terminal_gets_several_tables_and_loses_nothing():
    console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    print_sections(console, [SECTION])
    text = console.file.getvalue()
    assert "…" not in text
    assert text.count("backbone") == 2
    assert all(len(line) <= 40 for line in text.splitlines())
    for word in ("0.9 to 1.1", "1.1", "7", "8", "9"):
        assert word in text


def test_a_section_without_rows_is_its_head():
    assert "method" in sections_text([Section("Nothing", ("backbone", "method", "MiB"), [])])


def test_a_page_escapes_texts_and_keeps_plots():
    page = render_page(Page("<b>", "lead & more", "tinytrain-sim x"), [Section("<i>", ("a", "b"), [("<u>", "&")])])
    assert "<title>&lt;b&gt;</title>" in page
    assert "&lt;u&gt;" in page
    assert "<svg" not in page
    plotted = render_page(Page("t", "l", "c"), [Section("s", ("a",), [("1",)], plots=("<svg></svg>",))])
    assert "<svg></svg>" in plotted
    assert "http" not in page


def test_a_plot_of_its_own_has_light_colours_and_no_date():
    figure, axes = new_axes(100, 100, 1, 1, 1, 1)
    axes.plot([0, 1], [0, 1], color=ACCENT)
    file = to_file(figure, "line").decode()
    assert "#0b7a57" in file
    assert ACCENT not in file
    assert INK not in file
    assert "var(--" not in file
    assert to_file(figure, "line").decode() == file
