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

from pydantic import BaseModel, ConfigDict

from client.agent.confinement import confine_worker, die_with_parent
from client.config import NodeConfig
from tinytrain_core.wire import PersonaliseRequest

log = logging.getLogger(__name__)


class Job(BaseModel):
    """What a worker is to do: personalise some devices of a node as a request says.

    Attributes:
        node: the node's configuration as its parent has read it, with the devices that are to personalise.
        parent: the process that waits for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: NodeConfig
    request: PersonaliseRequest
    parent: int = 0
    memory_limit_mib: int | None = None


def run_job(job: Job, emit: Callable[[dict[str, object]], None]) -> None:
    """Do a job, and tell of each step."""
    from client.personaliser import personalise_node  # after the process has confined itself: torch starts threads
    from client.store import Store
    from tinytrain_core.backbones.weights import from_bytes
    from tinytrain_core.errors import BackboneError, StorageError

    try:
        if (data := Store(job.node.store).backbone(job.request.digest)) is not None:
            from_bytes(data)
            emit({"loaded": True})
    except (BackboneError, StorageError):
        log.exception("the backbone cannot be used")
    for device in job.node.devices:
        alone = job.node.model_copy(update={"devices": (device,)})
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
