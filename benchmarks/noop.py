"""Apps that do nothing but exchange a message, for measuring what an engine costs.

They run on Flower's own engine and on `simulations/grid.py`. Some of the clients can be made to fail.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from client.config import DeviceConfig, NodeConfig
from server.clock import Clock, SystemClock

CLIENT = f"{__name__}:app"
KIND = "query.noop"
KILLS, RAISES = "kills", "raises"  # fields of the request: one client in how many does so
PAUSE_S = 0.1
TTL_S = 3_600.0

app = ClientApp()


@app.query("noop")
def noop(message: Message, context: Context) -> Message:
    """Answer with the number of the partition, unless it is one that fails."""
    partition = int(context.node_config["partition-id"])
    request = message.content.config_records["request"]
    if _among(partition, request.get(KILLS)):
        os._exit(1)
    if _among(partition, request.get(RAISES)):
        raise ValueError(f"partition {partition}")
    answer = MetricRecord({"partition": partition, "half": 0.5})
    return Message(RecordDict({"answer": answer}), reply_to=message)


def _among(partition: int, every: object) -> bool:
    """Whether the partition is one in `every`, the last of them."""
    return isinstance(every, int) and partition % every == every - 1


def nodes(count: int) -> list[NodeConfig]:
    """As many nodes, all alike: nothing is ever read of them."""
    device = DeviceConfig(number=1, profile="pi_4", data="glyphs")
    return [NodeConfig(store=Path("/nowhere"), devices=(device,), simulated=True)] * count


def server_app(
    count: int,
    rounds: int,
    on_round: Callable[[int, float, list[Message]], None],
    fields: dict[str, int] | None = None,
    clock: Clock | None = None,
) -> ServerApp:
    """A server that asks every one of `count` nodes, `rounds` times, and tells how many seconds that took.

    Args:
        on_round: its number, the seconds and the replies.
        fields: of the request.
    """
    server, waits = ServerApp(), clock or SystemClock()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        for number in range(1, rounds + 1):
            while len(ids := sorted(grid.get_node_ids())) < count:
                waits.sleep(PAUSE_S)
            began_s = time.perf_counter()
            request = ConfigRecord({"round": number, **(fields or {})})
            on_round(number, *_round(grid, ids, request, waits, began_s))

    return server


def _round(
    grid: Grid, ids: list[int], request: ConfigRecord, clock: Clock, began_s: float
) -> tuple[float, list[Message]]:
    contents = RecordDict({"request": request})
    wanted = set(grid.push_messages([Message(contents, node, KIND, ttl=TTL_S) for node in ids]))
    replies: list[Message] = []
    while wanted:
        found = list(grid.pull_messages(wanted))
        replies += found
        wanted -= {reply.metadata.reply_to_message_id for reply in found}
        if wanted:
            clock.sleep(PAUSE_S)
    return time.perf_counter() - began_s, replies
