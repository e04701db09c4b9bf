"""The server's side of Flower, and the only module of the server that imports it.

A round asks every node what it is, sends the request, and the backbone to those that lack it, and collects
reports until every node has answered or is past its deadline. Nothing is aggregated: there is nothing but
reports to collect, and the backbone stays as it is.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from server.clock import Clock, SystemClock
from server.config import RunSettings, settings_from_run_config
from server.exchange import AnswerType, Exchange, OnReports, Records
from server.results import Results, RoundResult
from tinytrain_core import wire
from tinytrain_core.backbones.weights import digest, from_bytes, read_bytes
from tinytrain_core.errors import FleetError
from tinytrain_core.report import PersonalisationReport

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0  # between looking for replies: shorter while they come in
NODES_PAUSE_S = 0.5
TTL_GRACE_S = 10.0  # a message outlives its deadline by this, so that lateness is seen here and not in transport

log = logging.getLogger("flwr.tinytrain")  # below Flower's logger, so that `flwr run --stream` shows it


@dataclass(frozen=True)
class _Backbone:
    """The backbone that a run releases, checked once."""

    data: bytes
    digest: str


def _load_backbone(path: str) -> _Backbone:
    data = read_bytes(path)
    from_bytes(data)
    return _Backbone(data, digest(data))


def file_record(data: bytes) -> ArrayRecord:
    """A backbone's file as one array of bytes."""
    return ArrayRecord({wire.BACKBONE_ARRAY: Array(np.frombuffer(data, dtype=np.uint8))})


def records_of(reply: Message) -> Records | None:
    """The numbers of a reply; None for an error; no numbers at all where there is anything but numbers."""
    if not reply.has_content():
        return None
    if reply.content.array_records or reply.content.config_records:
        return {}
    return {name: dict(record) for name, record in reply.content.metric_records.items()}


def _push(
    grid: Grid, contents: Mapping[int, RecordDict], kind: str, exchange: Exchange[AnswerType], clock: Clock
) -> None:
    """Send each node its content."""
    ttl = exchange.deadline_s + TTL_GRACE_S
    messages = {node: Message(content, node, kind, ttl=ttl) for node, content in contents.items()}
    if not messages:
        return
    accepted = set(grid.push_messages(list(messages.values())))
    for node, message in messages.items():
        if message.metadata.message_id in accepted:
            exchange.sent(message.metadata.message_id, node, clock.monotonic_s())
        else:
            exchange.unsent(node)


def _collect(
    grid: Grid,
    exchange: Exchange[AnswerType],
    clock: Clock,
    on_answers: Callable[[list[AnswerType]], None] = lambda _: None,
) -> None:
    """Wait until every node has answered or is late."""
    pause_s = FIRST_PAUSE_S
    while exchange.outstanding:
        waiting = len(exchange.outstanding)
        replies = list(grid.pull_messages(exchange.outstanding))
        answers = [exchange.receive(reply.metadata.reply_to_message_id, records_of(reply)) for reply in replies]
        exchange.expire(clock.monotonic_s())
        if len(exchange.outstanding) < waiting:
            on_answers([answer for answer in answers if answer is not None])
            pause_s = FIRST_PAUSE_S
        elif exchange.outstanding:
            clock.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)


def _wait_for_nodes(grid: Grid, settings: RunSettings, clock: Clock) -> tuple[int, ...]:
    """The nodes, once there are enough and no more are just coming in, or the time is up.

    Raises:
        FleetError: there are too few when the time is up.
    """
    give_up_s = clock.monotonic_s() + settings.wait_for_nodes_s
    nodes: tuple[int, ...] = ()
    while True:
        before, nodes = nodes, tuple(sorted(grid.get_node_ids()))
        time_is_up = clock.monotonic_s() >= give_up_s
        if len(nodes) >= settings.min_nodes and (nodes == before or time_is_up):
            return nodes
        if time_is_up:
            raise FleetError(
                f"{len(nodes)} of min-nodes={settings.min_nodes} nodes after {settings.wait_for_nodes_s:g} s; "
                "start more nodes, wait longer (wait-for-nodes-s) or ask for fewer (min-nodes)"
            )
        clock.sleep(NODES_PAUSE_S)


@dataclass(frozen=True)
class _Run:
    """One run of the server on a grid."""

    grid: Grid
    settings: RunSettings
    backbone: _Backbone
    on_reports: OnReports
    clock: Clock

    def _ask_profiles(self, nodes: tuple[int, ...]) -> Exchange[wire.NodeProfile]:
        """Who hosts how many devices and holds the backbone."""
        request = wire.ProfileRequest(digest=self.backbone.digest)
        contents = dict.fromkeys(nodes, RecordDict({wire.REQUEST_RECORD: ConfigRecord(request.model_dump())}))
        exchange = Exchange(wire.NodeProfile, self.settings.deadline_s)
        _push(self.grid, contents, wire.QUERY_PROFILE, exchange, self.clock)
        _collect(self.grid, exchange, self.clock)
        return exchange

    def _content(self, round_number: int, with_backbone: ArrayRecord | None) -> RecordDict:
        """The request, and the backbone where it is to be sent."""
        shared = self.settings.model_dump(include=set(wire.REQUESTED))
        request = wire.PersonaliseRequest(digest=self.backbone.digest, round=round_number, **shared)
        records = RecordDict({wire.REQUEST_RECORD: ConfigRecord(request.model_dump())})
        if with_backbone is not None:
            records[wire.BACKBONE_RECORD] = with_backbone
        return records

    def round(self, number: int) -> RoundResult:
        """One round with the nodes that are there."""
        nodes = _wait_for_nodes(self.grid, self.settings, self.clock)
        asked = self._ask_profiles(nodes)
        profiles = asked.answers
        # A node without devices has no usable configuration: it is asked all the same, and its report says why.
        lacking = tuple(n for n, profile in profiles.items() if profile.devices and not profile.holds_backbone)
        record = file_record(self.backbone.data)  # one object, which Flower stores once for all of the nodes
        announced = {n: profile.devices for n, profile in profiles.items()}
        exchange: Exchange[list[PersonalisationReport]] = Exchange(list, self.settings.deadline_s, announced)
        contents = dict.fromkeys(profiles, self._content(number, None))
        contents |= dict.fromkeys(lacking, self._content(number, record))
        _push(self.grid, contents, wire.TRAIN_PERSONALISE, exchange, self.clock)
        _collect(self.grid, exchange, self.clock, self._progress(number, profiles, exchange))
        # Which round it was is the server's own knowledge, not a device's word.
        reports = [r.model_copy(update={"round": number}) for found in exchange.answers.values() for r in found]
        missing = asked.missing + exchange.missing
        return RoundResult(number, nodes, tuple(reports), missing, lacking, len(self.backbone.data))

    def _progress(
        self, number: int, profiles: Mapping[int, wire.NodeProfile], exchange: Exchange[list[PersonalisationReport]]
    ) -> Callable[[list[list[PersonalisationReport]]], None]:
        """What tells `on_reports` of new answers; a missing node's devices count as done."""
        devices = {node: max(profile.devices, 1) for node, profile in profiles.items()}
        in_round = sum(devices.values())
        done = told = 0

        def tell(answers: list[list[PersonalisationReport]]) -> None:
            nonlocal done, told
            done += sum(devices[node] for node in exchange.ended[told:])
            told = len(exchange.ended)
            reports = [report for answer in answers for report in answer]
            self.on_reports(in_round * (number - 1) + done, in_round * self.settings.rounds, reports)

        return tell


def _log_progress(done: int, total: int, reports: list[PersonalisationReport]) -> None:
    log.info("%d of %d devices (%d new reports)", done, total, len(reports))


def run(grid: Grid, settings: RunSettings, on_reports: OnReports = _log_progress, clock: Clock | None = None) -> None:
    """All rounds, with their results in `settings.out`.

    Args:
        clock: that the deadlines are on; None is this machine's.

    Raises:
        ConfigurationError: there is no such backbone.
        BackboneError: the backbone's file is damaged.
        FleetError: too few nodes, or not one report.
    """
    fleet = _Run(grid, settings, _load_backbone(settings.backbone), on_reports, clock or SystemClock())
    results = Results(settings, fleet.backbone.digest)
    total = 0
    for number in range(1, settings.rounds + 1):
        result = fleet.round(number)
        results.append(result)
        total += len(result.reports)
        sent = len(result.backbone_sent_to)
        log.info(
            "round %d: %d reports from %d nodes, %d nodes missing, the backbone went to %d; see %s",
            *(number, len(result.reports), len(result.nodes), len(result.missing), sent, results.folder.resolve()),
        )
    if not total:
        raise FleetError(f"{settings.rounds} rounds gave 0 reports; {results.folder / 'run.json'} lists who is missing")


def make_app(
    settings: RunSettings | None = None, on_reports: OnReports | None = None, clock: Clock | None = None
) -> ServerApp:
    """The ServerApp.

    Args:
        settings: of the run; None takes them from Flower's run configuration.
        on_reports: told of progress as it is made; None logs it.
        clock: that the deadlines are on; None is this machine's.
    """
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        run(grid, settings or settings_from_run_config(context.run_config), on_reports or _log_progress, clock)

    return server_app


app = make_app()
