"""What a device computes, in a process of its own: the device's own code, on its images, with no disk of its own."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.config import NodeConfig
from client.personaliser import personalise_node
from client.store import Store
from simulations.executors.executor import Shared
from tinytrain_core.wire import PersonaliseRequest


@dataclass(frozen=True)
class Asked:
    """One device's work, as text.

    Attributes:
        node: the configuration of a node with that device alone.
        request: what it is asked for; its digest names the backbone among what is shared.
        scratch: a folder that processes may use, each a part of its own.
    """

    node: str
    request: str
    scratch: str


def personalise(asked: Asked, shared: Shared) -> dict[str, Any]:
    """Personalise on the device; its report as fields. What goes wrong there is in the report."""
    request = PersonaliseRequest.model_validate_json(asked.request)
    store = Store(Path(asked.scratch) / str(os.getpid()))
    if store.backbone(request.digest) is None:
        store.save_backbone(request.digest, bytes(shared[request.digest]))
    node = NodeConfig.model_validate_json(asked.node).model_copy(update={"store": store.folder})
    (report,) = personalise_node(node, request, None)
    shutil.rmtree(store.folder / "deltas", ignore_errors=True)
    return report.model_dump()
