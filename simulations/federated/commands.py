"""`tinytrain-sim federated`: personalised federated learning as a baseline, on the fleet that all else runs on."""

from pathlib import Path
from typing import Any

from rich.console import Console

from simulations.comparing.commands import consoles, show_run
from simulations.federated.baseline import Finished
from simulations.federated.command_options import (
    FederatedRate,
    Fraction,
    LocalSteps,
    MethodArgument,
    PersonalBlocks,
    Respect,
    Rounds,
    StartOption,
    Tune,
    TuneDevices,
    Validation,
)
from simulations.federated.methods import FederatedMethod, federated_method
from simulations.federated.options import (
    FRACTION,
    LOCAL_STEPS,
    ROUNDS,
    FederatedSettings,
    personal_of,
)
from simulations.federated.run import check_engine, run_federated
from simulations.federated.table import cost_lines, participants_line, round_line, tried_line, tuned_lines
from simulations.federated.tuning import DEVICES as TUNE_DEVICES
from simulations.federated.tuning import FOLDER, Tuned, try_rates, validation_fleet
from simulations.finished_run import read_run, write_html, write_results
from simulations.options import Config, Data, Devices, Out, Overrides, Seed, Style, Workers
from simulations.progress import progress
from simulations.reporting.account import as_fields
from simulations.reporting.table import as_json
from simulations.run_folder import set_up
from simulations.settings import FleetSettings, load_settings, parse_overrides
from simulations.studies.program import INTERRUPTED, PROGRAM, typed_command
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.configuration import parse_settings
from tinytrain_core.console import Format
from tinytrain_core.engine.settings import LEARNING_RATE
from tinytrain_core.errors import ConfigurationError


def _start(kind: type[FederatedMethod], asked: str | None) -> str:
    if asked is not None and asked not in kind.starts:
        raise ConfigurationError(f"{kind.name} starts from {' or '.join(kind.starts)}, not from {asked!r}")
    return asked or kind.start


def _rates(text: str) -> list[float]:
    """The learning rates in a list with commas, ascending.

    Raises:
        ConfigurationError: there is none, or one that is not above 0 and at most 1.
    """
    try:
        rates = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise ConfigurationError(f"--tune {text!r} is not a list of numbers, as 0.0003,0.001,0.003") from None
    if not all(0 < rate <= 1 for rate in rates):
        raise ConfigurationError(f"--tune {text!r}: learning rates are above 0 and at most 1")
    return rates


def _say(console: Console, text: str) -> None:
    if text:
        console.print(text, highlight=False, soft_wrap=True, markup=False)


def _tuned(users: FleetSettings, settings: FederatedSettings, rates: list[float], out: Path, talk: Console) -> Tuned:
    """The rates that serve validation users best; said as they are tried."""
    found = try_rates(users, settings, rates, out / FOLDER, lambda tried: _say(talk, tried_line(tried)))
    for line in tuned_lines(found):
        _say(talk, line)
    return found


def _show(out: Path, done: Finished, tuned: Tuned | None, settings: FederatedSettings, style: Format) -> None:
    """Make the page and the tables, and print the figures."""
    console, talk = consoles(style)
    if style is Format.JSON:
        _show_json(out, done, tuned, settings, console)
        return
    show_run(out, style, console, talk)
    for line in ("", participants_line(done), *cost_lines(done)):
        _say(talk, line)
    if not settings.respect_budgets:
        _say(talk, "Budgets were ignored: no device of this run was held to its memory or storage.")


def _show_json(out: Path, done: Finished, tuned: Tuned | None, settings: FederatedSettings, console: Console) -> None:
    run = read_run(out)
    write_results(out, run)
    fields: dict[str, Any] = {
        "federated": settings.model_dump(mode="json"),
        "participants": dict(done.participants),
        "costs": done.costs.summary(),
        "tuning": tuned.summary() if tuned else None,
        "missing_nodes": run.missing,
        "report": str(write_html(out, run)),
    }
    console.out(as_json(run.account.summary, fields | as_fields(run.account)), highlight=False)


def federated(
    method: MethodArgument,
    config: Config = None,
    data: Data = None,
    devices: Devices = None,
    seed: Seed = None,
    workers: Workers = None,
    rounds: Rounds = ROUNDS,
    fraction: Fraction = FRACTION,
    local_steps: LocalSteps = LOCAL_STEPS,
    learning_rate: FederatedRate = LEARNING_RATE,
    personal_blocks: PersonalBlocks = None,
    start: StartOption = None,
    respect_budgets: Respect = True,
    tune: Tune = None,
    validation: Validation = None,
    tune_devices: TuneDevices = TUNE_DEVICES,
    out: Out = Path("runs/federated"),
    override: Overrides = None,
    style: Style = Format.TABLE,
) -> None:
    """A baseline to compare with: training that averages weights, or none at all, on the same fleet.

    The devices, their images and what happens to them are those of `tinytrain-sim fleet` with the same settings, so
    that `tinytrain-sim compare` can pair the devices of both. Weights travel here, and only here: nothing of this is
    on a device that is installed.

    Example: tinytrain-sim federated fedavg --devices 60 --tune 0.0003,0.001,0.003 --out runs/fedavg
    """
    kind = federated_method(method)
    flags = {"data": data, "devices": devices, "seed": seed, "workers": workers}
    given = {name: value for name, value in flags.items() if value is not None}
    fleet = load_settings(config, given | parse_overrides(override or []))
    asked = {
        "method": kind.name,
        "rounds": rounds,
        "fraction": fraction,
        "local_steps": local_steps,
        "learning_rate": learning_rate,
        "start": _start(kind, start),
        "personal_blocks": _personal(kind, fleet, personal_blocks),
        "respect_budgets": respect_budgets,
    }
    settings = parse_settings(FederatedSettings, asked, "the options cannot be used")
    if kind.federates and not rounds:
        raise ConfigurationError(f"--rounds is 0, and {kind.name} is nothing without; give 1 or more")
    rates = _rates(tune) if tune is not None and kind.adapts else []
    check_engine(fleet)
    talk = consoles(style)[1]
    _say(talk, f"{kind.title}: {fleet.devices} devices; data {fleet.data}; seed {fleet.seed}")
    try:
        tuned = None
        if rates:
            users = validation_fleet(fleet, validation, tune_devices)
            set_up(out, fleet, typed_command())  # what is wrong is found before anything is tried
            tuned = _tuned(users, settings, rates, out, talk)
            fleet, settings = tuned.apply(fleet, settings)
        done = _run(fleet, settings, tuned, out, talk)
    except KeyboardInterrupt:
        Console(stderr=True).print(f"{PROGRAM}: interrupted", style="red")
        raise SystemExit(INTERRUPTED) from None
    _show(out, done, tuned, settings, style)


def _personal(kind: type[FederatedMethod], fleet: FleetSettings, asked: int | None) -> int:
    if kind.personal:
        return personal_of(from_bytes(read_bytes(fleet.backbone)).spec, asked)
    if asked is not None:
        raise ConfigurationError(f"{kind.name} has no personal layers; --personal-blocks is for fedper")
    return 0


def _run(fleet: FleetSettings, settings: FederatedSettings, tuned: Tuned | None, out: Path, talk: Console) -> Finished:
    """The run itself; each round is a line, the last personalisation has a bar."""
    with progress(talk, fleet.devices * fleet.rounds) as on_reports:
        return run_federated(
            fleet,
            settings,
            out,
            typed_command(),
            tuned.summary() if tuned else None,
            lambda found: _say(talk, round_line(found, settings.rounds)),
            on_reports,
        )
