"""The redirect API's table in the kernel: what the node process writes for a pod, met by real connections."""

from collections.abc import Iterator

import pytest
from tests.cni.redirection import CASES, Case
from tests.cni.traffic import disagreements
from tests.redirect.kernel import POD, World, world

from weft.processes.cni import capturing

PEER = POD["eth0"][4] - 1


@pytest.fixture(scope="module")
def beside() -> Iterator[World]:
    with world("weft-redirect-api") as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_connections_end_where_the_pods_annotations_lead_them(beside: World, case: Case) -> None:
    path = f"/run/netns/{beside.pod}"
    capturing.apply(case.pod, path)
    assert capturing.missing(case.pod, path) == ()
    assert disagreements(case.shown, beside, POD["eth0"][4], PEER) == []
