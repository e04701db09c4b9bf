import json
import re
from html.parser import HTMLParser

import pytest

from server.config import RunSettings
from server.exchange import Cause, Missing
from server.results import Results, RoundResult
from simulations.finished_run import FLEET_FILE, read_run, write_html
from simulations.reporting.crowds import MANY
from simulations.reporting.html import RunFacts, render_html
from simulations.run_folder import prepare
from simulations.settings import load_settings
from tests.simulations.fleets import make_report
from tests.simulations.run_folders import Story, write_run
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.errors import ConfigurationError, EgressError, ErrorCode
from tinytrain_core.report import Outcome, failure

SPEC = load_spec("mcunet-5fps")
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Balance(HTMLParser):
    """Fails on a tag that closes another, and collects what would be fetched."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.fetched = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        fetching = {"src", "href", "xlink:href", "srcset", "data", "action"}
        self.fetched += [value for name, value in attrs if name in fetching and not (value or "").startswith("#")]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def some_reports():
    reports = [
        make_report(i, 1 + i % 4, 0.4 + i / 50, 0.5 + (-1) ** i / 20, live_memory_bytes=300 + 50 * i) for i in range(8)
    ]
    broke = make_report(8, 1, 0.4, 0.4, outcome=int(Outcome.CANNOT_AFFORD), updated_weights=0, live_memory_bytes=4000)
    return [*reports, broke, failure(ErrorCode.BAD_IMAGE, device=9, profile=2, round_number=1)]


def page(reports, **facts):
    common = {
        "title": "A fleet",
        "lead": "They did.",
        "left": "Numbers.",
        "command": "tinytrain-sim demo",
        "settings": {},
        "provenance": {},
        "missing": {},
    }
    return render_html(reports, RunFacts(**(common | facts)), SPEC)


def test_the_page_fetches_nothing_and_runs_nothing():
    text = page(some_reports())
    assert "http" not in text
    assert "<script" not in text
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert parser.fetched == []


def test_every_colour_of_a_plot_is_a_variable_of_the_page():
    text = page(some_reports())
    body = text.partition("</style>")[2]
    assert not re.findall(r"#[0-9a-f]{6}\b", body)
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", text))
    assert used <= set(re.findall(r"--([a-z0-9-]+):", text))


def test_ids_of_the_plots_do_not_clash():
    ids = re.findall(r'\bid="([^"]+)"', page(some_reports()))
    assert len(ids) == len(set(ids))


def test_the_same_reports_give_the_same_page_in_any_order():
    assert page(some_reports()) == page(some_reports()[::-1])


def test_text_from_outside_is_escaped():
    text = page(some_reports(), command="tinytrain-sim fleet --data '<script>alert(1)</script>'")
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_the_page_names_failures_and_missing_nodes():
    text = page(some_reports(), missing={"late": 3})
    assert "bad image" in text
    assert "<dt>late</dt><dd>3</dd>" in text
    assert "no update fits the budget" in text


@pytest.mark.parametrize(
    "reports", [[], [failure(ErrorCode.NO_IMAGES)], [make_report(0, 2, 0.5, 0.5)], [make_report(0, 99, 0.0, 1.0)]]
)
def test_a_page_can_be_made_of_very_little(reports):
    assert "</html>" in page(reports)


def marks(text):
    return text.count("<path") + text.count("<use")


def test_many_devices_are_drawn_as_distributions():
    def fleet(devices):
        return [
            make_report(i, 1 + i % 7, 0.5, 0.5 + i % 9 / 20, live_memory_bytes=300 + i % 90) for i in range(1, devices)
        ]

    few, many, most = (page(fleet(devices)) for devices in (MANY, MANY + 2, 4 * MANY))
    assert marks(many) < marks(few) / 2
    assert marks(most) == pytest.approx(marks(many), rel=0.1)
    assert len(most) < 300_000
    heights = [float(box.split()[3]) for box in re.findall(r'viewBox="([^"]+)"', most)]
    assert max(heights) < 1000


def test_memory_that_does_not_fit_or_is_exceeded_is_drawn_for_many_devices():
    over = [make_report(i, 1, 0.5, 0.6, live_memory_bytes=500 + 600 * (i == 1)) for i in range(1, MANY + 9)]
    poor = [
        make_report(MANY + i, 2, 0.5, 0.5, outcome=int(Outcome.CANNOT_AFFORD), updated_weights=0) for i in range(20, 40)
    ]
    text = page([*over, *poor])
    assert "A red dot" in text
    assert "no update fits" in text
    assert "1 of 428 devices above their budget" in text


@pytest.fixture
def run_folder(tmp_path):
    out = tmp_path / "run"
    prepare(out, load_settings(), "tinytrain-sim demo", SPEC)
    results = Results(RunSettings(out=str(out)), "a" * 64)
    results.append(RoundResult(1, (5, 6), tuple(some_reports()), (Missing(6, Cause.LATE),), (5,), 1000))
    return out


def test_a_run_is_read_as_it_was_written(run_folder):
    run = read_run(run_folder)
    assert list(run.reports) == some_reports()
    assert (run.missing, run.nodes, run.bytes_sent) == ({"late": 1}, 2, 1000)
    assert (run.command, run.spec, run.settings) == ("tinytrain-sim demo", SPEC, load_settings())


def test_the_page_of_a_run_says_how_to_make_it_again(run_folder):
    first = write_html(run_folder, read_run(run_folder)).read_bytes()
    assert write_html(run_folder, read_run(run_folder)).read_bytes() == first
    text = first.decode()
    assert "<pre>tinytrain-sim demo</pre>" in text
    assert "a" * 16 in text
    assert "Estimated" in text


def test_a_former_run_is_replaced_and_other_files_stay(run_folder):
    (run_folder / "notes.txt").write_text("mine")
    (run_folder / "nodes").mkdir()
    prepare(run_folder, load_settings(), "again", SPEC)
    assert sorted(path.name for path in run_folder.iterdir()) == ["fleet.json", "notes.txt"]


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    (tmp_path / "nodes").mkdir()
    with pytest.raises(ConfigurationError, match="1 other"):
        prepare(tmp_path, load_settings(), "", SPEC)
    assert (tmp_path / "nodes").is_dir()


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_record_is_refused(run_folder, content):
    (run_folder / FLEET_FILE).write_text(content)
    with pytest.raises(ConfigurationError, match=FLEET_FILE):
        read_run(run_folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"backbone_digest": "a", "versions": {}, "rounds": [{}]}'])
def test_a_damaged_account_of_the_server_is_refused(run_folder, content):
    (run_folder / "run.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"run\.json is damaged"):
        read_run(run_folder)


@pytest.mark.parametrize("spoilt", [b'{"schema_ver', b"[1, 2]", b"3", b"\xff", b""])
def test_a_damaged_line_is_named(run_folder, spoilt):
    file = run_folder / "reports.jsonl"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*lines[:2], spoilt, *lines[3:]]))
    with pytest.raises(ConfigurationError, match=r"reports\.jsonl, line 3"):
        read_run(run_folder)


def test_a_report_that_was_tampered_with_is_refused(run_folder):
    file = run_folder / "reports.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(json.loads(lines[0]) | {"name": "x"}), *lines[1:]]))
    with pytest.raises(EgressError):
        read_run(run_folder)


def test_no_run_is_no_report(tmp_path):
    with pytest.raises(ConfigurationError, match="simulated run"):
        read_run(tmp_path)


def page_of(out):
    return write_html(out, read_run(out)).read_text()


def test_what_happened_is_told_with_its_causes(tmp_path):
    nodes = write_run(tmp_path / "run", Story(causes={0: "battery", 2: "worker died: exit code 9"}, away=(1,)))
    text = page_of(tmp_path / "run")
    for words in ("What happened in the fleet", "Time to complete", "worker died: exit code 9", "battery", "offline"):
        assert words in text
    lost = sum(len(nodes[node].devices) for node in (0, 1, 2))
    assert f"{lost} of 12" in text
    ended = text.partition("How it ended")[2].partition("</section>")[0]
    assert f"<dt>battery</dt><dd>{len(nodes[0].devices)}</dd>" in ended
    assert "<dt>worker died: exit code 9</dt>" in ended
    assert "late" not in ended
    assert "With and without those that lie" not in text
    parser = Balance()
    parser.feed(text)
    assert (parser.open, parser.fetched) == ([], [])


def test_a_class_of_which_nobody_reports_is_still_told_of(tmp_path):
    nodes = write_run(tmp_path / "run")
    phones = {n for n, node in enumerate(nodes) if node.devices[0].profile == "phone"}
    write_run(tmp_path / "run", Story(causes=dict.fromkeys(phones, "lost")))
    section = page_of(tmp_path / "run").partition("What happened in the fleet")[2]
    assert phones
    assert "Phone</td>" in section


def test_a_run_of_before_has_no_section_on_what_nobody_wrote_down(tmp_path):
    write_run(tmp_path / "run", old=True)
    text = page_of(tmp_path / "run")
    assert "What happened in the fleet" not in text
    assert "Who gains least" in text


def test_liars_count_and_the_honest_are_told_beside_them(tmp_path):
    settings = load_settings(None, {"devices": 12, "faults.byzantine": 0.5})
    write_run(tmp_path / "run", settings=settings)
    liars = read_run(tmp_path / "run").liars
    lies = {
        d.number: 0.5
        for n, node in enumerate(write_run(tmp_path / "run", settings=settings))
        if n in liars
        for d in node.devices
    }
    write_run(tmp_path / "run", Story(gains=lies), settings)
    account = read_run(tmp_path / "run").account
    assert account.honest.fleet.gain.mean == pytest.approx(0.1)
    assert account.summary.fleet.gain.mean > 0.15
    assert account.honest.fleet.devices == 12 - len(lies)
    assert f"In this simulation {len(liars)} nodes report" in page_of(tmp_path / "run")


def test_settings_that_are_off_say_so(tmp_path):
    write_run(tmp_path / "run", settings=load_settings(None, {"devices": 12, "faults.drop_out": 0.25}))
    text = page_of(tmp_path / "run")
    assert "<dt>faults</dt><dd>drop_out: 0.25</dd>" in text
    assert "<dt>power</dt><dd>off</dd>" in text
