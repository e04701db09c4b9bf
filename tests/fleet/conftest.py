"""One fleet for all tests here, which are one run in the order in which they stand."""

from collections.abc import Iterator

import pytest

from tests.fleet.operations import NODES, Operator, running_fleet
from tests.server.running import HAS_FLOWER, NGINX


@pytest.fixture(scope="package")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    if not HAS_FLOWER:
        pytest.skip("needs Flower's programs beside Python")
    if NGINX is None:
        pytest.skip("needs nginx, as from Debian's nginx-light")
    with running_fleet(tmp_path_factory.mktemp("operated"), NODES) as fleet:
        yield fleet
