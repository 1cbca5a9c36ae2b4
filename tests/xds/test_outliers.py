"""Failing endpoints in the real Envoy: what sets them aside, after how many errors; when all are used anyway."""

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
from weft.xds.generate import Generator

PORT = 9001
GOOD, BAD, ABSENT = "127.64.3.1", "127.64.3.2", "127.64.3.3"
STATUSES = {"unavailable": 503, "broken": 500, "busy": 429}


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        yield made


@contextmanager
def serving(here: Place, seen: Counter[str]) -> Iterator[None]:
    """Two servers: one answers 200, the other by the path: `/unavailable` with 503."""

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = self.connection.getsockname()[0]
            seen[address] += 1
            self.send_response(STATUSES[self.path.strip("/")] if address == BAD else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    servers = netns.inside(
        here.namespace, lambda: [ThreadingHTTPServer((address, PORT), Server) for address in (GOOD, BAD)]
    )
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def objects(policy: str, *addresses: str) -> list[dict[str, Any]]:
    meta = {"name": "web", "namespace": "shop"}
    http = {"name": "http", "port": 80}
    retries = {
        "hosts": ["web"],
        "http": [{"route": [{"destination": {"host": "web"}}], "retries": {"attempts": 0}}],
    }
    return [
        {"kind": "Service", "metadata": meta, "spec": {"clusterIP": "10.96.0.1", "ports": [http]}},
        {
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{**http, "port": PORT}],
            "endpoints": [{"addresses": [each]} for each in addresses],
        },
        {"kind": "VirtualService", "metadata": meta, "spec": retries},
        {
            "kind": "DestinationRule",
            "metadata": meta,
            "spec": {
                "host": "web",
                "trafficPolicy": {
                    "loadBalancer": {"simple": "ROUND_ROBIN"},
                    "outlierDetection": yaml.safe_load(policy),
                },
            },
        },
    ]


def asked(
    here: Place, policy: str, path: str, *addresses: str, times: int = 20
) -> tuple[Counter[str], Counter[int]]:
    """What endpoints were asked, and what was answered, of so many requests one after the other."""
    store, seen = Store(), Counter[str]()
    for each in objects(policy, *addresses):
        store.apply(each["kind"], each)
    resources = Generator().resources(view(store.snapshot(), Proxy("client", "shop", "10.244.0.99")))
    request = Request("GET", "http", "web", 80, path, (), (), ())
    with (
        serving(here, seen),
        envoy.started(resources, here.identity, namespace=here.namespace) as (_, management),
    ):
        assert management.rejected == []
        answers = Counter(here.ask(request, "10.96.0.1", "web").status for _ in range(times))
    return seen, answers


EJECTS = "baseEjectionTime: 1m, maxEjectionPercent: 100"


@pytest.mark.parametrize(
    ("policy", "path", "errors"),
    [
        ("{consecutiveGatewayErrors: 1, %s}", "/unavailable", 1),
        ("{consecutive5xxErrors: 1, %s}", "/unavailable", 1),
        ("{consecutive5xxErrors: 3, %s}", "/broken", 3),
        ("{consecutive5xxErrors: 1, outlierDetectionHttpErrorCodes: [429], %s}", "/busy", 1),
    ],
)
def test_an_endpoint_is_set_aside_after_so_many_errors(here: Place, policy: str, path: str, errors: int) -> None:
    seen, answers = asked(here, policy.replace("%s", EJECTS), path, GOOD, BAD)
    # a few more may be on their way to the endpoint before the news of the last error is; without it, it gets 10
    assert errors <= seen[BAD] <= errors + 4
    assert answers == {200: 20 - seen[BAD], STATUSES[path.strip("/")]: seen[BAD]}


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ("{consecutive5xxErrors: 0, consecutiveGatewayErrors: 1, %s}", "/broken"),
        ("{consecutive5xxErrors: 1, outlierDetectionHttpErrorCodes: [429], %s}", "/unavailable"),
    ],
)
def test_what_is_no_error_of_the_kind_that_counts_sets_nobody_aside(here: Place, policy: str, path: str) -> None:
    seen, _ = asked(here, policy.replace("%s", EJECTS), path, GOOD, BAD)
    # Envoy may begin its rounds anew while its endpoints settle
    assert seen[BAD] >= 8


def test_an_endpoint_that_takes_no_connections_is_set_aside_where_such_failures_are_told_apart(
    here: Place,
) -> None:
    policy = f"{{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1, {EJECTS}}}"
    seen, answers = asked(here, policy, "/", GOOD, ABSENT)
    assert 1 <= answers[503] <= 5
    assert seen == {GOOD: answers[200]} == {GOOD: 20 - answers[503]}


def test_with_nobody_left_requests_are_answered_503_unless_too_few_are_healthy_to_believe_it(here: Place) -> None:
    policy = f"{{consecutive5xxErrors: 1, {EJECTS}}}"
    seen, answers = asked(here, policy, "/broken", BAD, times=10)
    assert 1 <= seen[BAD] <= 5
    assert answers == {500: seen[BAD], 503: 10 - seen[BAD]}
    panics = f"{{consecutive5xxErrors: 1, minHealthPercent: 50, {EJECTS}}}"
    seen, answers = asked(here, panics, "/broken", BAD, times=5)
    assert (seen, answers) == ({BAD: 5}, {500: 5})


def test_with_too_few_healthy_the_failing_are_asked_as_well(here: Place) -> None:
    seen, _ = asked(here, f"{{consecutive5xxErrors: 1, minHealthPercent: 60, {EJECTS}}}", "/broken", GOOD, BAD)
    assert seen[BAD] > 3


def test_no_more_endpoints_are_set_aside_than_the_rule_allows(here: Place) -> None:
    policy = "{consecutive5xxErrors: 1, baseEjectionTime: 1m, maxEjectionPercent: 0}"
    seen, _ = asked(here, policy, "/broken", GOOD, BAD)
    assert seen[BAD] > 1
