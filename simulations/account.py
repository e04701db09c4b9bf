"""The engine's own account of a run: what became of every message, and what simulating it took."""

import json
import resource
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from client.config import NodeConfig
from simulations.results.hosted import NODES_FILE
from simulations.results.journeys import VISITS_FILE
from simulations.run_folder import SIMULATION_FILE
from simulations.world.visit import Visit
from tinytrain_core.errors import StorageError

_VISIT = TypeAdapter(Visit)
_KIB = 1024  # in which Linux counts memory


@dataclass(frozen=True)
class Effort:
    """What a simulation took.

    Attributes:
        wall_s: seconds on this machine.
        virtual_s: seconds in the simulated world.
    """

    engine: str
    workers: int
    wall_s: float
    virtual_s: float


def _write(file: Path, parts: Iterable[bytes]) -> None:
    try:
        with file.open("wb") as stream:
            stream.writelines(parts)
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror}") from error


def write_hosted(out: Path, nodes: Iterable[NodeConfig]) -> None:
    """Write who is simulated, a line a node, by partition id.

    Raises:
        StorageError: the folder cannot be written.
    """
    _write(out / NODES_FILE, (node.model_dump_json(exclude_unset=True).encode() + b"\n" for node in nodes))


def peak_memory_bytes() -> int:
    """The most memory that this process has had, and not the one that started it, which `getrusage` tells if larger."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * _KIB
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def write_account(out: Path, visits: Sequence[Visit], effort: Effort) -> None:
    """Write what became of every message, and what it took.

    Raises:
        StorageError: the folder cannot be written.
    """
    ordered = sorted(visits, key=lambda visit: (visit.sent_s, visit.node, visit.number))
    _write(out / VISITS_FILE, (_VISIT.dump_json(visit) + b"\n" for visit in ordered))
    account = {
        "engine": effort.engine,
        "workers": effort.workers,
        "wall_s": effort.wall_s,
        "virtual_s": effort.virtual_s,
        "messages": len(visits),
        "messages_per_s": len(visits) / effort.wall_s,
        "peak_memory_bytes": peak_memory_bytes(),
        "incidents": dict(sorted(Counter(visit.cause for visit in visits if visit.cause).items())),
    }
    _write(out / SIMULATION_FILE, [json.dumps(account, indent=2).encode() + b"\n"])
