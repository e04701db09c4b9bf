"""The reports of a rehearsal: computed once for each device and request, and remembered in a file.

So an interrupted rehearsal goes on where it was, and one with other stages or gates has nothing left to compute.
"""

import json
import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from client.config import DeviceConfig, NodeConfig
from simulations.executors.executor import Done, Executor, Job
from simulations.rehearsal.memory import NOWHERE
from simulations.rehearsal.work import Asked
from simulations.run_folder import COMPUTED_FILE
from tinytrain_core import __version__
from tinytrain_core.errors import EgressError, ErrorCode, StorageError
from tinytrain_core.report import PersonalisationReport, failure, validate_report
from tinytrain_core.wire import PersonaliseRequest

SCRATCH = "scratch"


def _alone(node: NodeConfig, device: DeviceConfig) -> str:
    """The configuration of a node with one of its devices, wherever it keeps its files."""
    return node.model_copy(update={"store": NOWHERE, "pool": None, "devices": (device,)}).model_dump_json()


def _key(node: str, request: str) -> str:
    return sha256(f"{__version__}\n{node}\n{request}".encode()).hexdigest()


def _remembered(file: Path) -> dict[str, PersonalisationReport]:
    """What is in the file; a line that a killed process left half written is computed again."""
    found: dict[str, PersonalisationReport] = {}
    if not file.exists():
        return found
    try:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                    found[entry["key"]] = validate_report(entry["report"])
                except (ValueError, KeyError, TypeError, EgressError):
                    continue
    except OSError as error:
        raise StorageError(f"cannot read {file}: {error.strerror}; mend its permissions, or say --fresh") from error
    return found


class Computing:
    """Use it as a context manager, within that of the executor.

    Args:
        executor: made for `work.personalise`, or what stands in for it.
        out: the rehearsal's folder.
        fresh: forget what was computed before.

    Raises:
        StorageError: the file of reports cannot be read or written.
    """

    def __init__(self, executor: Executor, out: Path, fresh: bool = False) -> None:
        self._executor, self._file, self._scratch = executor, out / COMPUTED_FILE, out / SCRATCH
        self._found = {} if fresh else _remembered(self._file)
        self._unused = set(self._found)
        self._asked: dict[int, tuple[str, DeviceConfig, int]] = {}
        self._pending: set[str] = set()
        self._jobs = self.computed = self.recalled = 0
        try:
            self._lines: IO[str] = self._file.open("w" if fresh else "a", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"cannot write {self._file}: {error.strerror}; give another --out") from error
        if self._lines.tell():
            self._lines.write("\n")  # behind a line that a killed process left half written

    def __enter__(self) -> "Computing":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def publish(self, digest: str, data: bytes) -> None:
        """Let all jobs see a backbone; one that they see already stays."""
        self._executor.publish(digest, data)

    def begin(self, node: NodeConfig, request: PersonaliseRequest) -> None:
        """Compute the reports of a node's devices, as far as they are not known, without waiting for them."""
        text = request.model_dump_json()
        jobs = []
        for device in node.devices:
            alone = _alone(node, device)
            key = _key(alone, text)
            if key in self._found or key in self._pending:
                self.recalled += key in self._unused
                self._unused.discard(key)
                continue
            self._jobs += 1
            self._pending.add(key)
            self._asked[self._jobs] = key, device, request.round
            jobs.append(Job(self._jobs, Asked(alone, text, str(self._scratch)), (request.digest,)))
        if jobs:
            self._executor.submit(jobs)

    def reports(self, node: NodeConfig, request: PersonaliseRequest) -> list[PersonalisationReport]:
        """The reports of a node's devices, in their order, once they are all there.

        Raises:
            FleetError: no process can be started any more.
        """
        self.begin(node, request)
        text = request.model_dump_json()
        keys = [_key(_alone(node, device), text) for device in node.devices]
        while not self._pending.isdisjoint(keys):
            self._take(self._executor.done())
        return [self._found[key] for key in keys]

    def _take(self, done: Iterable[Done]) -> None:
        for each in done:
            key, device, round_number = self._asked.pop(each.number)
            self._pending.discard(key)
            self.computed += 1
            if not each.error and not each.died:
                self._found[key] = validate_report(each.value)
                self._remember(key, each.value)
                continue
            code = ErrorCode.CRASHED if each.died else ErrorCode.INTERNAL  # as a device says it, and never remembered
            self._found[key] = failure(code, device.number, device.device_class.number, round_number)

    def _remember(self, key: str, report: dict[str, Any]) -> None:
        try:
            self._lines.write(json.dumps({"key": key, "report": report}) + "\n")
            self._lines.flush()
        except OSError as error:
            raise StorageError(f"cannot write {self._file}: {error.strerror}; free the disk") from error
