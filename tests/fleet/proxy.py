"""A TCP proxy of one device: it counts the bytes either way, and can be the bad network between device and server."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import closing, suppress
from typing import Any

CHUNK = 65_536


class CountingProxy:
    """Passes on what it gets from one loopback port to another.

    Attributes:
        down, up: bytes to the device and from it; every byte of TCP's payload, TLS included.
        seen: what passed, if it was asked to keep it.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.down = self.up = 0
        self.cut = False  # accept, and close at once: what a load balancer does while its server is down
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._wait(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.cut:
                return
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            return
        finally:
            if self.cut:
                writer.close()
        self._open |= {writer, back_writer}
        await asyncio.gather(self._pipe(reader, back_writer, True), self._pipe(back_reader, writer, False))
        self._open -= {writer, back_writer}

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        with closing(writer), suppress(ConnectionError):  # either end may break off: the other is closed as well
            while data := await reader.read(CHUNK):
                if up:
                    self.up += len(data)
                else:
                    self.down += len(data)
                writer.write(data)
                await writer.drain()

    def reset(self) -> None:
        """Break every connection."""

        async def abort() -> None:
            for writer in list(self._open):
                writer.transport.abort()

        self._wait(abort())

    def close(self) -> None:
        """Stop for good."""

        async def stop() -> None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()

        self._wait(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()
