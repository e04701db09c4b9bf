"""`tinytrain-sim table1` and `tinytrain-sim ablation`: accuracy over many tasks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from simulations.studies import accuracy_options as options
from simulations.studies.ablation import ALL, AblationSettings
from simulations.studies.accuracy_report import print_tables, write_products
from simulations.studies.findings import as_json, find
from simulations.studies.program import INTERRUPTED, PROGRAM, typed_command
from simulations.studies.questions import QUESTIONS
from simulations.studies.study_folder import read_settings
from simulations.studies.study_loading import load_study
from simulations.studies.study_progress import study_progress
from simulations.studies.study_run import run_study
from simulations.studies.study_settings import StudySettings
from simulations.studies.table1 import FULL_TRAIN, METHODS, SPARSE_UPDATE, Table1Settings
from simulations.studies.trials import read_trials
from tinytrain_core.console import Format
from tinytrain_core.errors import ConfigurationError


def _numbers(text: str) -> list[float]:
    """Numbers with commas between them."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(f"--rates {text} is not a list of numbers, as 0.001,0.003") from None


def given_flags(kind: type[StudySettings], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among what was `given` on the command line."""
    flags = {name: value for name, value in given.items() if name in kind.model_fields and value not in (None, [], ())}
    return flags | {"rates": _numbers(flags["rates"])} if "rates" in flags else flags


def run(settings: StudySettings, out: Path, workers: int) -> None:
    """Run a study with its progress on standard error; an interrupt ends the program, and what has ended is kept.

    Raises:
        TinyTrainError: as `run_study`.
        SystemExit: it was interrupted.
    """
    talk = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        with study_progress(talk) as progress:
            run_study(settings, out, typed_command(), workers, progress)
    except KeyboardInterrupt:
        talk.print(f"{PROGRAM}: interrupted; {out} keeps what has ended, the same command goes on", style="red")
        raise SystemExit(INTERRUPTED) from None


def _show(kind: type[StudySettings], out: Path, style: Format, changes: Mapping[str, Any]) -> None:
    """Make the tables and the page of what is in `out`, with `changes` of its settings, and print the figures."""
    findings = find(read_settings(out, kind, changes), read_trials(out))
    page = write_products(out, findings)
    console = Console()
    if style is Format.JSON:
        console.out(as_json(findings, {"report": str(page)}), highlight=False)
        return
    print_tables(findings, console)
    console.print(f"\nThe page: {page.resolve()}", highlight=False, soft_wrap=True)


def table1(
    context: typer.Context,
    config: options.Config = None,
    protocol: options.Protocol = None,
    data: options.Data = None,
    validation: options.Validation = None,
    backbones: options.Backbones = None,
    plain: options.Plain = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(help=f"A method, as tinytrain:window_blocks=4,channels=l2. Repeatable. ({', '.join(METHODS)})"),
    ] = None,
    methods_files: options.MethodsFiles = None,
    reference: Annotated[
        list[str] | None, typer.Option(help=f"Held against it; repeatable. ({FULL_TRAIN}, {SPARSE_UPDATE})")
    ] = None,
    rates: options.Rates = None,
    trials: options.Trials = None,
    validation_trials: options.ValidationTrials = None,
    ways: options.Ways = None,
    shots: options.Shots = None,
    queries: options.Queries = None,
    steps: options.Steps = None,
    views: options.Views = None,
    compute_share: options.ComputeShare = None,
    memory_mib: options.MemoryMib = None,
    seed: options.Seed = None,
    device: options.Device = None,
    workers: options.Workers = options.CORES,
    out: options.Out = Path("runs/table1"),
    report: options.Report = False,
    style: options.Style = Format.TABLE,
) -> None:
    """Accuracy of every method over data sets and backbones, on the same tasks.

    Learning rates are chosen on validation tasks of other data sets. Every trial is kept as it ends: the same command
    goes on where it was interrupted, and more trials, methods, data or backbones are added to what is there.

    Example: tinytrain-sim table1 --data Omniglot --data GTSRB --trials 50
    """
    if not report:
        run(load_study(Table1Settings, config, given_flags(Table1Settings, context.params)), out, workers)
    _show(Table1Settings, out, style, {"reference": reference} if reference else {})


def ablation(
    context: typer.Context,
    questions: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION...", help=f"{', '.join(QUESTIONS)} or {ALL}.")
    ] = None,
    config: options.Config = None,
    protocol: options.Protocol = None,
    data: options.Data = None,
    validation: options.Validation = None,
    backbones: options.Backbones = None,
    plain: options.Plain = None,
    methods_files: options.MethodsFiles = None,
    rates: options.Rates = None,
    trials: options.Trials = None,
    validation_trials: options.ValidationTrials = None,
    ways: options.Ways = None,
    shots: options.Shots = None,
    queries: options.Queries = None,
    steps: options.Steps = None,
    views: options.Views = None,
    compute_share: options.ComputeShare = None,
    memory_mib: options.MemoryMib = None,
    seed: options.Seed = None,
    device: options.Device = None,
    workers: options.Workers = options.CORES,
    out: options.Out = Path("runs/ablation"),
    report: options.Report = False,
    style: options.Style = Format.TABLE,
) -> None:
    """What each part of the method is worth: every QUESTION varies one of them, on the same tasks.

    Example: tinytrain-sim ablation channels window --backbone mcunet-5fps --trials 50
    """
    if not report:
        run(load_study(AblationSettings, config, given_flags(AblationSettings, context.params)), out, workers)
    _show(AblationSettings, out, style, {})
