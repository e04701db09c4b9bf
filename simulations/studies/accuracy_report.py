"""What a study leaves in its folder beside its trials: tables as CSV and text, and a page."""

from pathlib import Path

from rich.console import Console

from simulations.reporting.sections import Page, print_sections, render_page, sections_text
from simulations.reporting.svg import file_name, standalone
from simulations.studies.accuracy_sections import facts_section, sections
from simulations.studies.findings import Findings, as_csv
from simulations.studies.study_folder import StudyRecord, read_study
from tinytrain_core.files import write_file

PLOTS = "plots"
TITLES = {"table1": "Accuracy by method", "ablation": "What each part of the method is worth"}
LEAD = (
    "Every arm had the same tasks. Where there was a choice of learning rates, it has the one that did best on "
    "validation tasks of other data sets. Accuracies are those of the adapted backbone on images that it did not learn "
    "from, whether a device would keep it or not."
)


def render(findings: Findings, record: StudyRecord) -> str:
    """The page."""
    record = record.model_copy(update={"settings": findings.settings.model_dump(mode="json")})
    about = Page(TITLES[record.study], LEAD, record.command)
    return render_page(about, [*sections(findings, draws=True), facts_section(record)])


def write_products(out: Path, findings: Findings) -> Path:
    """Write the tables as CSV and text, the plots and the page, whose file is what is returned.

    Raises:
        StorageError: the folder cannot be written.
    """
    record = read_study(out)
    page = out / f"{record.study}.html"
    write_file(page, render(findings, record).encode())
    write_file(page.with_suffix(".csv"), as_csv(findings.cells).encode())
    if findings.against:
        write_file(out / f"{record.study}-against.csv", as_csv(findings.against).encode())
    write_file(page.with_suffix(".txt"), sections_text(sections(findings, draws=False)).encode())
    for plot in (plot for section in sections(findings, draws=True) for plot in section.plots):
        write_file(out / PLOTS / file_name(plot), standalone(plot))
    return page


def print_tables(findings: Findings, console: Console) -> None:
    """Drawn where a terminal is wide enough for every table, plain elsewhere."""
    made = sections(findings, draws=False)
    text = sections_text(made)
    if console.width < max(map(len, text.splitlines())):
        console.out(text, end="", highlight=False)
    else:
        print_sections(console, made)
