"""A real SuperLink, with TLS, node authentication and SQLite; the test plays the server's app through its database."""

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.server.superlink.linkstate import LinkState, LinkStateFactory
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager

from client.connection.diagnosis import diagnose
from client.connection.identity import load_identity
from tests.client.servers import Authority

SERVER = 1  # the SuperLink's own number


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass
class SuperLink:
    """A running one, and its database."""

    folder: Path
    port: int
    authority: Authority
    state: LinkState

    def register(self, key_file: Path) -> int:
        return self.state.create_node("<none>", "<none>", load_identity(key_file).public, 0)

    def run(self) -> int:
        """A run that is running."""
        run_id = self.state.create_run(
            None, None, None, {}, NOOP_FEDERATION_ID, None, None, primary_task_type=TaskType.SERVER_APP
        )
        task_id = self.state.get_run_info(run_ids=[run_id])[0].primary_task_id
        assert self.state.claim_task(task_id)
        assert self.state.activate_task(task_id)
        return run_id

    def finish(self, run_id: int) -> None:
        task_id = self.state.get_run_info(run_ids=[run_id])[0].primary_task_id
        assert self.state.finish_task(task_id, "completed", "")

    def push(self, run_id: int, node_id: int, kind: str, records: dict[str, Any]) -> str:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, SERVER, 0
        message = Message(RecordDict(records), node_id, kind)
        message.metadata.__dict__["_message_id"] = message.object_id
        session = self.state.start_session(run_id)
        bare = remove_content_from_message(message)
        stored, wanted = self.state.store_message_and_object_tree(bare, get_object_tree(message), session)
        assert stored
        for name, item in get_all_nested_objects(message).items():
            if name in wanted:
                assert self.state.store_object(run_id, session, name, item.deflate())
        return message.object_id

    def reply(self, run_id: int, message_id: str, wait_s: float = 60) -> Message:
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            for bare in self.state.get_message_res({message_id}, run_id):
                if bare.has_error():
                    return bare
                return self._whole(run_id, bare)
            time.sleep(0.1)
        raise AssertionError("no reply")

    def _whole(self, run_id: int, bare: Message) -> Message:
        tree = self.state.object_store.get_object_tree(bare.metadata.message_id)
        contents = dict[str, bytes]()
        deadline = time.monotonic() + 20
        for part in iterate_object_tree(tree):
            while not (content := self.state.get_object(run_id, part.object_id)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert content
            contents[part.object_id] = content
        whole = inflate_object_from_contents(tree.object_id, contents)
        assert isinstance(whole, Message)
        return whole


@contextmanager
def started(folder: Path, authority: Authority, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process, ready."""
    certificate, key = authority.issue("localhost")
    command = [str(Path(sys.executable).with_name("flower-superlink")), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--ssl-ca-certfile", str(authority.file), "--ssl-certfile", str(certificate)]
    command += ["--ssl-keyfile", str(key), "--enable-supernode-auth", "--isolation", "process"]
    command += ["--database", str(folder / "state.db"), "--disable-runtime-dependency-installation"]
    environment = {**os.environ, "FLWR_HOME": str(folder / "flwr")}
    with (
        (folder / "superlink.log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            deadline = time.monotonic() + 60
            while diagnose("localhost", port, authority.file, time.time()).cause.name != "NONE":
                assert process.poll() is None, (folder / "superlink.log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield process
        finally:
            process.terminate()
            process.wait(30)


def opened(folder: Path, authority: Authority, port: int) -> SuperLink:
    """The database of one that runs, or has run."""
    database = str(folder / "state.db")
    factory = LinkStateFactory(database, NoOpFederationManager(), ObjectStoreFactory(database))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Flower's own, of alembic
        return SuperLink(folder, port, authority, factory.state())


@contextmanager
def superlink(folder: Path) -> Iterator[SuperLink]:
    folder.mkdir()
    authority, port = Authority(folder, "fleet"), free_port()
    with started(folder, authority, port):
        yield opened(folder, authority, port)
