"""One cluster for all end-to-end tests."""

from collections.abc import Iterator

import pytest
from tests.support.cluster import KUBECTLS, Cluster, leftovers, logs, machine


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    for kubectl in KUBECTLS.values():
        assert kubectl.exists(), f"{kubectl} is missing: run `make test`"
    with machine("weft-e2e") as namespace:
        cluster = Cluster(tmp_path_factory.mktemp("home"), namespace)
        try:
            up = cluster.weft("up", "--home", str(cluster.home), seconds=120)
            assert up.returncode == 0, up.stdout + up.stderr + logs(cluster.home)
            yield cluster
        finally:
            down = cluster.weft("down", "--home", str(cluster.home), seconds=120)
        assert down.returncode == 0, down.stdout + down.stderr
        assert leftovers(cluster.home) == []
