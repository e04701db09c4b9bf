"""A process of `workers.py`: what it is sent, does and answers. It imports next to nothing before its function."""

import gc
import os
import pickle
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from queue import SimpleQueue
from threading import Thread
from traceback import print_exc
from typing import NamedTuple, cast

from simulations.executors.calls import Answer, Call, Calls

FLUSH_S = 0.02  # answers do not wait longer for the rest of their batch
PICKLE = pickle.HIGHEST_PROTOCOL


class Orders(NamedTuple):
    """What a worker is sent: calls, where the data that they name is, and which data it may forget."""

    calls: Sequence[Call]
    segments: Mapping[str, str]
    forget: Sequence[str]


def buffer(segment: SharedMemory) -> memoryview:
    """What an open segment holds."""
    return cast(memoryview, segment.buf)


class _Attached:
    """The shared memory that a worker has seen, by key."""

    def __init__(self) -> None:
        self._segments: dict[str, SharedMemory] = {}
        self._in_use: list[SharedMemory] = []  # forgotten while the function still had a view of it
        self.views: dict[str, memoryview] = {}

    def attach(self, segments: Mapping[str, str]) -> None:
        for key, name in segments.items():
            if key not in self._segments:
                self._segments[key] = SharedMemory(name)
                self.views[key] = buffer(self._segments[key]).toreadonly()

    def forget(self, keys: Sequence[str]) -> None:
        """Let go; what the function still has a view of stays as long as the process."""
        for key in keys:
            if key in self._segments:
                self.views.pop(key).release()
                segment = self._segments.pop(key)
                try:
                    segment.close()
                except BufferError:
                    self._in_use.append(segment)


class _Outbox:
    """Answers on their way, a few at a time."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._answers: list[Answer] = []
        self._began_s = time.perf_counter()

    def begin(self) -> None:
        self._began_s = time.perf_counter()

    def add(self, answer: Answer) -> None:
        self._answers.append(answer)
        if time.perf_counter() - self._began_s > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        if self._answers:
            now_s = time.perf_counter()
            self._pipe.send_bytes(_pickled(self._answers, now_s - self._began_s))
            self._answers = []
        self.begin()


def _pickled(answers: list[Answer], seconds: float) -> bytes:
    """The answers as bytes; one that cannot be pickled becomes an error of its job alone."""
    try:
        return pickle.dumps((answers, seconds), PICKLE)
    except Exception:  # noqa: BLE001 - whatever pickling somebody's object raises
        return pickle.dumps(([_picklable(answer) for answer in answers], seconds), PICKLE)


def _picklable(answer: Answer) -> Answer:
    try:
        pickle.dumps(answer, PICKLE)
    except Exception as error:  # noqa: BLE001 - as above
        print_exc()
        return Answer(answer.number, None, type(error).__name__)
    return answer


def _listen(pipe: Connection, inbox: "SimpleQueue[Orders]") -> None:
    """Take what comes; the process ends where nothing can come any more."""
    try:
        while True:
            inbox.put(pipe.recv())
    except (EOFError, OSError):
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nobody else would see it, and the worker would wait for ever
        print_exc()
        os._exit(1)


def work(function: str, pipe: Connection, log: str) -> None:
    """A worker's life: it says that it is ready, and does what it is sent until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end
    if log:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(stream, sys.stdout.fileno())
        os.dup2(stream, sys.stderr.fileno())
    inbox: SimpleQueue[Orders] = SimpleQueue()
    Thread(target=_listen, args=(pipe, inbox), daemon=True).start()
    calls, attached, outbox = Calls(function), _Attached(), _Outbox(pipe)
    gc.freeze()  # what was imported stays
    pipe.send_bytes(_pickled([], 0.0))
    while True:
        orders = inbox.get()
        attached.forget(orders.forget)
        attached.attach(orders.segments)
        outbox.begin()
        for call in orders.calls:
            outbox.add(calls.answer(call, attached.views))
        outbox.flush()
