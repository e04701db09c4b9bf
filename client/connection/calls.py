"""One call of the Fleet API after the other, with Flower's client on a transport of this program's own."""

import ssl
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from flwr import __version__ as flower_version
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    FLWR_COMPONENT_NAME_METADATA_KEY,
    FLWR_PACKAGE_NAME_METADATA_KEY,
    FLWR_PACKAGE_VERSION_METADATA_KEY,
)
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.connection.identity import Identity
from client.connection.messages import OfflineError, RefusedError, RunEndedError
from client.connection.pace import Meanwhile
from client.connection.transport import CALL_BYTES, BoundedClient

OF_A_RUN = ("PullObject", "ConfirmMessageReceived", "PushMessages", "PushObject")


@dataclass(frozen=True)
class _Signature:
    """Signs the time of every request, as Flower's own node does."""

    identity: Identity

    def intercept(self, context: Any, call_next: Callable[[Any], httpx.Response]) -> httpx.Response:
        stamp = datetime.now(UTC).isoformat()
        context.request.headers.update(
            {
                FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(self.identity.public).decode("ascii"),
                TIMESTAMP_HEADER: stamp,
                FLEET_HTTP_SIGNATURE_HEADER: b64encode(self.identity.sign(stamp)).decode("ascii"),
                FLWR_PACKAGE_NAME_METADATA_KEY: "flwr",
                FLWR_PACKAGE_VERSION_METADATA_KEY: flower_version,
                FLWR_COMPONENT_NAME_METADATA_KEY: "SuperNode",
            }
        )
        return call_next(context)


class FleetCalls:
    """The calls to one SuperLink, each signed with the node's key.

    Attributes:
        object_bytes: that the next object may be.
    """

    def __init__(self, server: str, ca: Path, identity: Identity, meanwhile: Meanwhile) -> None:
        self._server, self._ca, self._identity, self._meanwhile = server, ca, identity, meanwhile
        self._client: FleetHttpClient | None = None
        self.object_bytes = 0

    @property
    def connected(self) -> bool:
        """Whether the last call has left a connection."""
        return self._client is not None

    def call(self, name: str, request: Any) -> Any:
        """One request to the server.

        Raises:
            OfflineError, RefusedError, RunEndedError: it did not work; `__cause__` is why.
        """
        try:
            if self._client is None:
                self._client = self._connect()
            return getattr(self._client, name)(request)
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            if code == httpx.codes.FORBIDDEN and name in OF_A_RUN:
                raise RunEndedError(f"{name}: HTTP 403") from error
            if 300 <= code < 500:
                raise RefusedError(name, code) from error
            raise OfflineError(f"{name}: HTTP {code}", code) from error
        except OfflineError:
            self.hang_up()
            raise
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            self.hang_up()
            raise OfflineError(f"{name}: {type(error).__name__}: {error}") from error

    def _connect(self) -> FleetHttpClient:
        context = ssl.create_default_context(cafile=str(self._ca))
        client = FleetHttpClient(f"https://{self._server}", interceptors=[_Signature(self._identity)], verify=context)
        client._client.close()  # it would follow redirects and read without an end
        client._client = BoundedClient(context, self._meanwhile, self._most)
        return client

    def _most(self, request: httpx.Request) -> int:
        """Bytes that the answer to a request may be."""
        return self.object_bytes + CALL_BYTES if request.url.path.endswith("/pull-object") else CALL_BYTES

    def hang_up(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None
