"""Whether an order is accepted, and what is on the disk before it is answered.

It is checked (signatures, manifest, expiry and clock, this program's version, monotonic version, the file), its
backbone is stored and the order written down. A device always has a backbone that works: the old one stays in use
until the new one has been loaded by the process that personalises. What is signed is the release; when it is ordered,
how often and with which settings is up to the server, within what the device's owner allows.
"""

import logging

from client.agent.config import AgentConfig
from client.agent.respondent import CLIENT
from client.agent.runner import OrderRunner
from client.agent.state import AgentState, Order
from client.config import NodeConfig
from client.store import Store
from tinytrain_core.errors import BackboneMissingError, ErrorCode, RequestError, StorageError
from tinytrain_core.orders import OrderRequest
from tinytrain_core.release import Manifest, Trust, check_file, verify
from tinytrain_core.wire import PersonaliseRequest

log = logging.getLogger(__name__)

DAY_S = 86_400.0


class Acceptance:
    """The checks of a node's orders, and its store of backbones."""

    def __init__(
        self, config: AgentConfig, node: NodeConfig, trust: Trust, state: AgentState, runner: OrderRunner
    ) -> None:
        self._config, self._trust, self._state, self._runner = config, trust, state, runner
        self._store = Store(node.store)

    def take(self, request: OrderRequest, backbone: bytes | None, now_s: float) -> None:
        """Accept an order, once.

        Raises:
            TinyTrainError: it is refused, and nothing that was in use has changed.
        """
        if (seen := self._state.seen(request.rollout, request.attempt)) is None:
            self._accept(request, backbone, now_s)
        elif (seen.manifest, PersonaliseRequest.model_validate_json(seen.settings)) != _content(request):
            raise RequestError(
                "this node has had another order of that number; the server's database is older than what it has "
                "ordered: begin a new rollout with a higher number"
            )

    def _accept(self, request: OrderRequest, backbone: bytes | None, now_s: float) -> None:
        """Check an order, keep its backbone, write it down.

        Raises:
            TinyTrainError: it is refused, and nothing that was in use has changed.
        """
        standing = self._state.standing
        manifest = verify(
            request.manifest.encode(errors="replace"),
            request.signature_map(),
            self._trust,
            now_s,
            CLIENT,
            standing.accepted.created,
        )
        accepted = standing.accept(manifest)
        self._check_pace(manifest, now_s)
        data = self._checked_file(request, manifest, backbone)
        running = self._state.running()
        known = {standing.in_use.digest, standing.previous.digest, standing.accepted.digest, manifest.digest}
        self._store.prune(known | {running.digest if running else ""})
        if backbone is not None and self.held(manifest.digest) is None:
            self._store.save_backbone(manifest.digest, data)
        left = self._runner.failures(running, ErrorCode.SUPERSEDED) if running and running.rollout else []
        self._state.adopt(_order(request, manifest, now_s), accepted, left)
        self._runner.abandon()
        self._tidy(manifest.digest)
        log.info("order %d.%d is accepted: release %d", request.rollout, request.attempt, manifest.version)

    def _check_pace(self, manifest: Manifest, now_s: float) -> None:
        """Make sure that a server does not let a device work without end; what operators sign anew is never too much.

        Raises:
            RequestError: the device has had its orders of a day.
        """
        accepted, most = self._state.standing.accepted, self._config.max_orders_per_day
        had = self._state.arrived(now_s - DAY_S, now_s + DAY_S)
        if had >= most and (manifest.version, manifest.digest) == (accepted.version, accepted.digest):
            raise RequestError(f"{had} orders within a day, {most} are allowed; max_orders_per_day in agent.yaml")

    def _checked_file(self, request: OrderRequest, manifest: Manifest, backbone: bytes | None) -> bytes:
        """The backbone of an order, sent or held.

        Raises:
            RequestError: the settings are about another backbone.
            BackboneMissingError: it is neither here nor sent.
            ManifestError: the file is not the one that was signed.
        """
        if request.request().digest != manifest.digest:
            raise RequestError("the order's settings and its manifest name two backbones; one was meant")
        data = backbone if backbone is not None else self.held(manifest.digest)
        if data is None:
            raise BackboneMissingError(f"the store does not hold {manifest.digest}, and none was sent")
        check_file(manifest, data)
        return data

    def held(self, backbone: str) -> bytes | None:
        """A backbone of the store; one that cannot be read is not held."""
        try:
            return self._store.backbone(backbone) if backbone else None
        except StorageError as error:
            log.error("%s", error)
            return None

    def _tidy(self, target: str) -> None:
        """Keep the release in use and the one that has come; until that is a new one, the one before as well."""
        standing = self._state.standing
        before = {standing.previous.digest} if target in (standing.in_use.digest, standing.previous.digest) else set()
        keep = {standing.in_use.digest, target} | before
        try:
            self._store.prune(keep)
            self._state.forget(keep)
        except StorageError as error:  # the order is written down; the next one tidies
            log.error("%s", error)


def _content(request: OrderRequest) -> tuple[str, PersonaliseRequest]:
    """What makes an order the same as another of its number."""
    return request.manifest, request.request()


def _order(request: OrderRequest, manifest: Manifest, now_s: float) -> Order:
    return Order(
        rollout=request.rollout,
        attempt=request.attempt,
        version=manifest.version,
        digest=manifest.digest,
        manifest=request.manifest,
        settings=request.settings,
        arrived_s=now_s,
        valid_s=request.valid_s,
        until_s=now_s + request.valid_s,
        expires_s=float(manifest.expires),
    )
