"""The one process of a device that sees private images: no connection, a short life, and numbers to its parent.

`python -m client.agent.worker` takes a job as one line of JSON, and writes a line for each thing that its parent should
know: `loaded` once the backbone works, then the report of each device. Everything else that it has to say goes to
stderr, which is a file on this device. What its parent believes of these lines is for the parent to decide.
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from client.agent.confinement import confine_worker, die_with_parent
from tinytrain_core.wire import PersonaliseRequest

log = logging.getLogger(__name__)


class Job(BaseModel):
    """What a worker is to do: personalise some devices of a node as a request says.

    Attributes:
        node: the node's configuration file.
        parent: the process that waits for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: Path
    request: PersonaliseRequest
    devices: Annotated[list[int], Field(min_length=1)]
    parent: int = 0
    memory_limit_mib: int | None = None


def run_job(job: Job, emit: Callable[[dict[str, object]], None]) -> None:
    """Do a job, and tell of each step.

    Raises:
        TinyTrainError: there is no usable node configuration.
    """
    from client.config import load_node_config  # after the process has confined itself: torch starts threads
    from client.personaliser import personalise_node
    from client.store import Store
    from tinytrain_core.backbones.weights import from_bytes
    from tinytrain_core.errors import BackboneError

    node = load_node_config(job.node)
    data = Store(node.store).backbone(job.request.digest)
    try:
        if data is not None:
            from_bytes(data)
            emit({"loaded": True})
    except BackboneError:
        log.exception("the backbone cannot be used")
    for device in [device for device in node.devices if device.number in job.devices]:
        alone = node.model_copy(update={"devices": (device,)})
        for report in personalise_node(alone, job.request, None):
            emit({"report": report.model_dump(mode="json")})


def _emit(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Take a job from stdin and do it."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(name)s %(message)s", level=logging.INFO)
    job = Job.model_validate_json(sys.stdin.readline())
    die_with_parent(job.parent or os.getppid())
    if refused := confine_worker(job.memory_limit_mib):
        log.warning("the system did not let this worker give up %s", "; ".join(refused))
    run_job(job, _emit)


if __name__ == "__main__":
    main()
