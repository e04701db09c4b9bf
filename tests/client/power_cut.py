"""A device whose power fails at every write, one write after the other: `python -m tests.client.power_cut FOLDER`.

Every flush, rename, removal and commit is a point before and after which a life can end. For each of them a process
begins two orders and ends there; a second one goes on with what it finds, as the server gives the same orders again.
"""

import contextlib
import json
import logging
import os
import shutil
import sqlite3
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from client.agent.standing import Release, read_standing
from client.store import Store
from tests.client.agents import NOW, backbones, manifest, open_device, order, unique_ids, write_device
from tinytrain_core.digests import digest
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import SyncRequest

CUT = 77
DEVICES = (11, 12)
SETTINGS = {"method": "last_layer", "steps": 1, "learning_rate": 0.01}


class Power:
    """Counts the points at which it may fail, and fails at one of them."""

    def __init__(self, at: int | None) -> None:
        self.points, self._at = list[str](), at

    def point(self, name: str) -> None:
        self.points.append(name)
        if len(self.points) - 1 == self._at:
            os._exit(CUT)

    def around(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*args: Any, **kwargs: Any) -> Any:
            self.point(f"before {name}")
            result = act(*args, **kwargs)
            self.point(f"after {name}")
            return result

        return acting

    def install(self) -> None:
        power = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                done = super().execute
                return power.around("commit", done)(sql, *args) if sql == "COMMIT" else done(sql, *args)

        connect = sqlite3.connect
        sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=Connection, **kwargs)  # type: ignore[assignment]
        for name in ("fsync", "replace", "unlink"):
            setattr(os, name, self.around(name, getattr(os, name)))


def life(folder: Path, files: list[bytes]) -> None:
    """Two orders from a server that notes what it receives, and acknowledges it."""
    device = open_device(folder / "agent.yaml")
    for version, data in enumerate(files, 1):
        given = order(manifest(data, version), rollout=version, settings=SETTINGS)
        assert device.agent.order(given, data, NOW) == ErrorCode.NONE
        for _ in range(6):
            device.agent.tick(NOW)
        deliveries = device.agent.answer("", ErrorCode.NONE, NOW).deliveries
        with (folder / "server").open("a", encoding="ascii") as received:
            for delivery in deliveries:
                key = [delivery.envelope.rollout, delivery.envelope.attempt, delivery.report.device]
                received.write(json.dumps([key, delivery.envelope.report_id, delivery.report.error]) + "\n")
        assert device.agent.sync(SyncRequest(acknowledged=unique_ids(deliveries))) == ErrorCode.NONE
    device.state.close()


def check(folder: Path, files: list[bytes]) -> int:
    """Everything is sound and every report has arrived once; how many deltas there are."""
    rows = [json.loads(text) for text in (folder / "server").read_text(encoding="ascii").splitlines()]
    reports = {(tuple(key), report_id): error for key, report_id, error in rows}
    counts = Counter(key for key, _ in reports)
    assert counts == {(rollout, 1, device): 1 for rollout in (1, 2) for device in DEVICES}, counts
    assert set(reports.values()) == {0}, reports
    store, standing = Store(folder / "store"), read_standing(folder / "store" / "held.json")
    assert standing is not None
    assert (standing.in_use, standing.accepted.highest) == (Release(2, digest(files[1])), 2)
    assert sorted(store.backbones()) == sorted(map(digest, files))
    files_of_deltas = list((folder / "store" / "deltas").rglob("*.delta"))
    assert all(store.delta(int(file.parent.name), file.stem) for file in files_of_deltas)
    device = open_device(folder / "agent.yaml")
    assert (device.state.pending(), device.state.running()) == (0, None)
    assert device.agent.order(order(manifest(files[0], 1), rollout=9), files[0], NOW) == ErrorCode.ROLLBACK
    device.state.close()
    return len(files_of_deltas)


def forked(act: Callable[[], None]) -> int:
    """The exit code of a process that does it."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        act()
    except BaseException:  # noqa: BLE001 a fork must not go on with its parent's code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    place, files = Path(sys.argv[1]), backbones(2)
    torch.set_num_threads(1)
    logging.disable()
    write_device(place / "fresh", [{"shots": 1, "holdout": 1} for _ in DEVICES])

    def cut_life(folder: Path, at: int | None) -> None:
        power = Power(at)
        power.install()
        life(folder, files)
        (place / "points").write_text(json.dumps(power.points), encoding="ascii")

    def fresh(name: str) -> Path:
        shutil.copytree(place / "fresh", place / name)
        return place / name

    life(fresh("warm"), files)  # what is imported late is imported before the forks
    whole = fresh("whole")
    assert forked(lambda: cut_life(whole, None)) == 0
    points = json.loads((place / "points").read_text(encoding="ascii"))
    deltas = check(whole, files)
    for at in range(len(points)):
        folder = fresh(f"at{at}")
        found = forked(lambda folder=folder, at=at: cut_life(folder, at))  # type: ignore[misc]
        assert found == CUT, (at, points[at], found)
        assert forked(lambda folder=folder: (life(folder, files), check(folder, files))) == 0, (at, points[at])  # type: ignore[misc]
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
    json.dump({"points": dict(Counter(points)), "deltas": deltas}, sys.stdout)


if __name__ == "__main__":
    main()
