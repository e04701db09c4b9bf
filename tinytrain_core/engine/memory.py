"""Live bytes as measured: every tensor that an operation allocates, from its birth to its death."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def _tensors(values: Iterable[object]) -> Iterator[Tensor]:
    """The tensors among an operator's arguments or results, which nest one deep at most."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (inner for inner in value if isinstance(inner, Tensor))


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are allocated inside the context and still alive.

    Tensors that were there before, as frozen weights and stored images are, do not count. Scratch memory
    that an operator takes and returns within itself is not seen.

    Attributes:
        now: bytes alive. peak: the most there were.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._holders: dict[int, int] = {}  # storage -> live tensors on it

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {self._storage(tensor) for tensor in _tensors((*args, *(kwargs or {}).values()))}
        for tensor in _tensors((result,)):
            self._hold(tensor, given)
        return result

    @staticmethod
    def _storage(tensor: Tensor) -> int:
        return int(tensor.untyped_storage()._cdata)

    def _hold(self, tensor: Tensor, given: set[int]) -> None:
        storage, size = self._storage(tensor), tensor.untyped_storage().nbytes()
        if storage not in self._holders:
            if storage in given:
                return  # a view of, or a write to, a tensor from outside
            self.now += size
            self.peak = max(self.peak, self.now)
        self._holders[storage] = self._holders.get(storage, 0) + 1
        weakref.finalize(tensor, self._release, storage, size)

    def _release(self, storage: int, size: int) -> None:
        self._holders[storage] -= 1
        if self._holders[storage] == 0:
            del self._holders[storage]
            self.now -= size


def watched(live: LiveBytes | None) -> AbstractContextManager[object]:
    """A watch, which must not be on already, or none: of many equal passes it is enough to watch the first."""
    return nullcontext() if live is None else live
