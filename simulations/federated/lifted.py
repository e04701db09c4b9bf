"""Nodes whose memory and storage are no limit: what if every device could?"""

from collections.abc import Sequence
from typing import overload

from client.config import NodeConfig
from tinytrain_core.selection.cost import UNLIMITED


class LiftedNodes(Sequence[NodeConfig]):
    """The same nodes, each made when it is asked for, with all the memory and storage that there can be."""

    def __init__(self, nodes: Sequence[NodeConfig]) -> None:
        self._nodes = nodes

    def __len__(self) -> int:
        return len(self._nodes)

    @overload
    def __getitem__(self, index: int) -> NodeConfig: ...

    @overload
    def __getitem__(self, index: slice) -> list[NodeConfig]: ...

    def __getitem__(self, index: int | slice) -> NodeConfig | list[NodeConfig]:
        if isinstance(index, slice):
            return [_lifted(node) for node in self._nodes[index]]
        return _lifted(self._nodes[index])


def _lifted(node: NodeConfig) -> NodeConfig:
    limits = {"memory_bytes": UNLIMITED, "storage_bytes": UNLIMITED}
    return node.model_copy(update={"devices": tuple(device.model_copy(update=limits) for device in node.devices)})
