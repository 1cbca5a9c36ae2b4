"""Pods come and go while requests flow."""

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.support import envoy
from tests.support.city import HOST, City, running_city

HOST_HEADER = ("-H", "Host: canary")


@pytest.fixture
def city() -> Iterator[City]:
    with running_city() as made:
        yield made


def test_no_request_is_lost_while_pods_come_and_go_at_50_requests_a_second(city: City) -> None:
    answers: list[Counter[str]] = []
    with city.managed(ready=("v1",)) as (sidecar, management):

        def members() -> str:
            return sidecar.get(f"/stats?filter=^cluster.outbound.80..{HOST}.membership_total$").split()[-1]

        def know(*ready: str) -> None:
            management.update(city.generator.resources(city.view(ready=ready)))
            envoy.wait_until(lambda: members() == str(len(ready)))

        steady = threading.Thread(
            target=lambda: answers.append(city.statuses(300, *HOST_HEADER, "--rate", "50/s"))
        )
        steady.start()
        for _ in range(2):
            know("v1", "v2")
            envoy.wait_until(lambda: _requests(sidecar, city.v2.address) > 0)
            know("v1")
            threading.Event().wait(0.2)  # what is under way may end, as in the time that pods have to stop
            city.stop_server(city.v2)
            city.start_server(city.v2)
        steady.join()
        assert management.rejected == []
    assert answers == [Counter({"200": 300})]


def test_requests_find_the_pods_that_are_left_where_one_died_unnoticed(city: City) -> None:
    with city.managed() as (sidecar, _):
        before = city.statuses(20, *HOST_HEADER)
        assert _requests(sidecar, city.v2.address) > 0
        city.stop_server(city.v2)
        after = city.statuses(40, *HOST_HEADER)
        retries = sidecar.get(f"/stats?filter=^cluster.outbound.80..{HOST}.upstream_rq_retry_success$")
    assert (before, after) == ({"200": 20}, {"200": 40})
    assert int(retries.split()[-1]) > 0


def _requests(sidecar: envoy.Running, address: str) -> int:
    """How many requests went to an address."""
    total = 0
    for cluster in sidecar.json("/clusters?format=json")["cluster_statuses"]:
        for host in cluster.get("host_statuses", ()):
            if host["address"].get("socket_address", {}).get("address") == address:
                total += sum(int(stat.get("value", 0)) for stat in host["stats"] if stat["name"] == "rq_total")
    return total
