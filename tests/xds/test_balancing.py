"""Load balancing by what endpoints report, in the real Envoy; and endpoints of which some are unhealthy."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from tests.cases.engine import Request
from tests.cases.in_envoy import Place, place
from tests.support import envoy

from weft.adapters import netns
from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.views import view
from weft.xds import simulate
from weft.xds.generate import Generator
from weft.xds.resource import Resources
from weft.xds.simulate_endpoints import reached

PORT = 9002
BUSY, IDLE, FAR = "127.64.4.1", "127.64.4.2", "127.64.4.3"
LOADS = {BUSY: 0.8, IDLE: 0.2, FAR: 0.2}
WEB = "outbound|80||web.shop.svc.cluster.local"


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made, serving(made):
        yield made


@contextmanager
def serving(here: Place) -> Iterator[None]:
    """Servers that say who they are and how loaded, by ORCA's header."""

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = self.connection.getsockname()[0]
            self.send_response(200)
            self.send_header("content-length", "0")
            self.send_header("x-server", address)
            load = f"application_utilization={LOADS[address]}, rps_fractional=100"
            self.send_header("endpoint-load-metrics", f"TEXT {load}")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    servers = netns.inside(here.namespace, lambda: [ThreadingHTTPServer((at, PORT), Server) for at in LOADS])
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def resources(policy: str, endpoints: dict[str, tuple[str, bool]]) -> Resources:
    """Those of a client in us/west; endpoints are told by address: their zone, and whether they are ready."""
    meta = {"name": "web", "namespace": "shop"}
    http = {"name": "http", "port": 80}
    nodes = [
        {
            "kind": "Node",
            "metadata": {
                "name": zone,
                "labels": {"topology.kubernetes.io/region": "us", "topology.kubernetes.io/zone": zone},
            },
        }
        for zone in {zone for zone, _ in endpoints.values()}
    ]
    listed = [
        {"addresses": [address], "nodeName": zone, "conditions": {"ready": ready}}
        for address, (zone, ready) in endpoints.items()
    ]
    store = Store()
    objects: list[dict[str, Any]] = [
        *nodes,
        {"kind": "Service", "metadata": meta, "spec": {"clusterIP": "10.96.0.1", "ports": [http]}},
        {
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{**http, "port": PORT}],
            "endpoints": listed,
        },
        {
            "kind": "DestinationRule",
            "metadata": meta,
            "spec": {"host": "web", "trafficPolicy": yaml.safe_load(policy)},
        },
    ]
    for each in objects:
        store.apply(each["kind"], each)
    return Generator().resources(view(store.snapshot(), Proxy("client", "shop", "10.244.0.9", locality="us/west")))


def asked(here: Place, made: Resources, times: int) -> list[str]:
    """Which servers answered, one request after the other."""
    request = Request("GET", "http", "web", 80, "/", (), (), ())
    with envoy.started(made, here.identity, namespace=here.namespace) as (_, management):
        assert management.rejected == []
        answers = [here.ask(request, "10.96.0.1", "web") for _ in range(times)]
    return [each.headers["x-server"][0] for each in answers]


def test_endpoints_that_report_less_load_get_more_requests(here: Place) -> None:
    made = resources(
        "loadBalancer: {backendUtilization: {weightUpdatePeriod: 100ms, weightStabilizationPeriod: 1ms}}",
        {BUSY: ("west", True), IDLE: ("west", True)},
    )
    later = Counter(asked(here, made, 400)[200:])
    # four times the load, a quarter of the weight
    assert later[IDLE] > 2 * later[BUSY] > 0, later


def test_localities_have_their_shares_with_weights_by_load_too(here: Place) -> None:
    made = resources(
        "loadBalancer: {backendUtilization: {}, localityLbSetting: "
        "{distribute: [{from: us, to: {us/west: 80, us/east: 20}}]}}",
        {BUSY: ("west", True), FAR: ("east", True)},
    )
    foreseen = reached(WEB, simulate.Request("10.96.0.1", 80, "web"), made)
    assert {each.address.partition(":")[0]: each.percent for each in foreseen} == {BUSY: 80.0, FAR: 20.0}
    found = Counter(asked(here, made, 200))
    assert abs(found[BUSY] / 2 - 80) < 15, found
    assert found[FAR] > 0


def test_what_a_level_is_not_healthy_for_goes_to_the_next_as_the_simulator_says(here: Place) -> None:
    made = resources(
        "outlierDetection: {consecutive5xxErrors: 9}",
        {BUSY: ("west", True), IDLE: ("west", False), FAR: ("east", True)},
    )
    foreseen = {
        each.address.partition(":")[0]: each.percent
        for each in reached(WEB, simulate.Request("10.96.0.1", 80, "web"), made)
    }
    assert foreseen == {BUSY: 70.0, FAR: 30.0}
    found = Counter(asked(here, made, 200))
    assert set(found) == set(foreseen)
    for address, share in foreseen.items():
        assert abs(found[address] / 2 - share) < 15, found


def test_the_interval_of_a_retry_budget_reaches_envoy(here: Place) -> None:
    made = resources("retryBudget: {budgetInterval: 10s}", {IDLE: ("west", True)})
    with envoy.started(made, here.identity, namespace=here.namespace) as (running, _):
        dumped = running.json("/config_dump?resource=dynamic_active_clusters")["configs"]
    web = next(each["cluster"] for each in dumped if each["cluster"]["name"] == WEB)
    assert web["circuit_breakers"]["thresholds"][0]["retry_budget"]["budget_interval"] == "10s"
