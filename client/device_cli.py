"""`tinytrain-client init`, `plan`, `personalise` and `status`: what a device does, by hand and without a server."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track

from client.config import DeviceConfig, NodeConfig, load_node_config
from client.personaliser import device_budget, personalise_node, run_device
from client.private_data import device_source
from client.store import Store
from client.tables import MIB, cost_row, show, show_reports
from client.template import node_yaml
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import BACKBONE_HELP, SHIPPED, digest, from_bytes, read_bytes
from tinytrain_core.console import Format
from tinytrain_core.devices.profile import catalogue, device_profile
from tinytrain_core.engine.settings import (
    LEARNING_RATE,
    MAX_VIEWS,
    OPTIMISER,
    PRECISION,
    STEPS,
    VIEWS,
    TrainingSettings,
)
from tinytrain_core.errors import BudgetError, ConfigurationError, DataError, StorageError, TinyTrainError
from tinytrain_core.files import InUseError, exclusive
from tinytrain_core.report import Outcome, PersonalisationReport
from tinytrain_core.selection.methods import METHODS, method_by_name
from tinytrain_core.wire import PersonaliseRequest

log = logging.getLogger(__name__)

Config = Annotated[Path, typer.Argument(help="The node's YAML file, as `init` writes it.")]
BackboneFile = Annotated[str, typer.Option("--backbone", help=BACKBONE_HELP)]
MethodName = Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHODS)}.")]
Style = Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")]


def init(
    config: Annotated[Path, typer.Argument(help="The file to write.")] = Path("node.yaml"),
    profile: Annotated[str, typer.Option(help=f"One of {', '.join(catalogue())}.")] = "pi_4",
    data: Annotated[str, typer.Option(help="A folder of class folders, or one in a .zip.")] = "images",
    number: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="What you call this device.")] = 1,
    store: Annotated[str, typer.Option(help="Where backbones and deltas are kept.")] = "store",
    force: Annotated[bool, typer.Option(help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented node configuration.

    Example: tinytrain-client init node.yaml --profile pi_zero_2w --data ~/images
    """
    device_profile(profile)
    if config.exists() and not force:
        raise ConfigurationError(f"{config} is there already; --force writes over it")
    try:
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(node_yaml(number, profile, data, store, list(catalogue())), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {config}: {error.strerror}; give another file") from error
    Console().print(f"wrote {config}; next: tinytrain-client plan {config}", highlight=False)


def _request(
    data: bytes,
    method: str,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    optimiser: str = OPTIMISER,
    views: int = VIEWS,
    precision: str = PRECISION,
    seed: int = 0,
) -> PersonaliseRequest:
    """The request that a server would send.

    Raises:
        ConfigurationError: the method, the optimiser or the precision is unknown.
    """
    method_by_name(method)
    TrainingSettings(steps, learning_rate, optimiser, views=views, precision=precision)
    return PersonaliseRequest(
        digest=digest(data),
        seed=seed,
        method=method,
        steps=steps,
        learning_rate=learning_rate,
        optimiser=optimiser,
        views=views,
        precision=precision,
    )


def plan(
    config: Config, backbone: BackboneFile = "", method: MethodName = "tinytrain", style: Style = Format.TABLE
) -> None:
    """Show what each device would update, why, and what it costs. Nothing is trained or kept.

    Example: tinytrain-client plan node.yaml
    """
    node, data = load_node_config(config), read_bytes(backbone)
    checked = from_bytes(data)
    torch.set_num_threads(node.threads)
    request = _request(data, method, steps=0)
    console, rows, failed = Console(soft_wrap=True, highlight=False), [], 0
    for device in node.devices:
        try:
            result = run_device(device, request, checked)
        except TinyTrainError as error:
            log.exception("device %d has no plan", device.number)
            failed = failed or error.exit_code
            continue
        rows.append({"device": device.number, "profile": device.profile, **cost_row(result.report)})
        if style is Format.TABLE:
            title = device.device_class.title
            console.print(f"device {device.number}: {title}\n{result.plan.explain()}\n", markup=False)
    show(rows, style)
    raise typer.Exit(failed)


def _personalise(node: NodeConfig, request: PersonaliseRequest, data: bytes) -> Iterator[PersonalisationReport]:
    """One device after the other, with a progress bar in a terminal."""
    console = Console(stderr=True)
    for device in track(
        node.devices, "personalising", console=console, disable=not console.is_terminal, transient=True
    ):
        yield from personalise_node(node.model_copy(update={"devices": (device,)}), request, data)


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Nobody else at work in a store: what a node reports is about the deltas that it made itself.

    Raises:
        StorageError: a node runs there, or nothing can be written.
    """
    try:
        with exclusive(store):
            yield
    except InUseError:
        raise StorageError(f"a node is at work in {store}; stop it first, or give node.yaml another store") from None


def _exit_code(reports: list[PersonalisationReport]) -> int:
    """0, or that of the first error that a report carries."""
    pending, by_code = [TinyTrainError], dict[int, int]()
    while pending:
        kind = pending.pop(0)
        by_code.setdefault(int(kind.code), kind.exit_code)
        pending += kind.__subclasses__()
    return next((by_code.get(r.error, 1) for r in reports if r.outcome == Outcome.FAILED), 0)


def personalise(
    config: Config,
    backbone: BackboneFile = "",
    method: MethodName = "tinytrain",
    steps: Annotated[int, typer.Option(min=0, max=10_000)] = STEPS,
    learning_rate: Annotated[float, typer.Option(min=1e-9, max=1)] = LEARNING_RATE,
    optimiser: Annotated[str, typer.Option(help="adam, momentum or sgd.")] = OPTIMISER,
    views: Annotated[
        int, typer.Option(min=0, max=MAX_VIEWS, help="Augmented views to keep features of; 0 is a fresh one each step.")
    ] = VIEWS,
    precision: Annotated[str, typer.Option(help="Of kept features: full, half or byte.")] = PRECISION,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the augmentation.")] = 0,
    style: Style = Format.TABLE,
) -> None:
    """Personalise on every device of the node, keep what helps, and print the reports.

    The exit code is 0, or that of the first device's error. A node that runs has its store to itself: stop it first.

    Example: tinytrain-client personalise node.yaml --format json
    """
    data = read_bytes(backbone)
    from_bytes(data)  # a damaged file is one error here, not a failure of every device
    request = _request(data, method, steps, learning_rate, optimiser, views, precision, seed)
    node = load_node_config(config)
    with _alone(node.store):
        reports = list(_personalise(node, request, data))
    show_reports(reports, style)
    raise typer.Exit(_exit_code(reports))


def _images(device: DeviceConfig) -> str:
    """What a device has to learn from, or why it has nothing."""
    try:
        classes = device_source(device).classes
    except (ConfigurationError, DataError) as error:
        return f"unusable: {error}"
    return f"{len(classes)} classes, {sum(c.size for c in classes)} images"


def _memory(device: DeviceConfig) -> str:
    """A device's memory budget, or what is wrong with it."""
    try:
        return f"{device_budget(device, load_spec(SHIPPED)).memory_bytes / MIB:.2f} MiB"
    except BudgetError as error:
        return f"unusable: {error}"


def status(config: Config, style: Style = Format.TABLE) -> None:
    """Show the node's devices, their images and budgets, and what the store holds.

    Example: tinytrain-client status node.yaml
    """
    node = load_node_config(config)
    store = Store(node.store)
    rows = [
        {
            "device": device.number,
            "profile": device.profile,
            "images": _images(device),
            "memory": _memory(device),
            "deltas for": ", ".join(name[:12] for name in store.deltas(device.number)) or "none",
        }
        for device in node.devices
    ]
    show(rows, style)
    held = ", ".join(name[:12] for name in store.backbones()) or "none"
    Console(stderr=True, soft_wrap=True).print(f"backbones in {node.store}: {held}", highlight=False, markup=False)
