"""What would become of requests, by the bytes that Envoy gets."""

from datetime import timedelta

import pytest
from tests.support import mesh

from weft.model.routing import (
    Abort,
    Delay,
    Destination,
    HostRoutes,
    HttpRoute,
    MatchKind,
    RequestMatch,
    Retries,
    StringMatch,
    Unresolved,
)
from weft.model.services import Endpoint, Protocol
from weft.model.traffic import HostTraffic, Subset, TrafficPolicy
from weft.xds.generate import generate
from weft.xds.simulate import Fault, Outcome, Request, Share, simulate
from weft.xds.simulate_endpoints import Reached, UpstreamTls

HOST = "canary.canary.svc.cluster.local"
VIP = "10.100.93.113"
BY_USER = RequestMatch(headers=(("user", StringMatch(MatchKind.EXACT, "zhongmingmao")),))


def outcome(request: Request, routes: HostRoutes | None = None, *, namespace: str = "canary") -> Outcome:
    """The outcome beside two versions of the service canary."""
    pods = (
        mesh.endpoint("10.244.0.6", 8080, namespace="canary", labels=(("version", "v1"),)),
        mesh.endpoint("10.244.0.8", 8080, namespace="canary", labels=(("version", "v2"),)),
        Endpoint("10.244.0.9", 8080, labels=(("version", "v2"),), healthy=False),
    )
    traffic = HostTraffic(subsets=tuple(Subset(v, (("version", v),), TrafficPolicy()) for v in ("v1", "v2")))
    view = mesh.view(
        mesh.service_view(
            "canary",
            VIP,
            [("http", 80, Protocol.HTTP), ("tcp", 9000, Protocol.TCP)],
            namespace="canary",
            endpoints=pods,
            routes=routes,
            traffic=traffic,
        ),
        namespace=namespace,
    )
    return simulate(request, generate(view))


def test_the_walkthroughs_canary_follows_the_header() -> None:
    routes = HostRoutes(
        (
            HttpRoute((Destination(HOST, 80, "v2", 100),), matches=(BY_USER,)),
            HttpRoute((Destination(HOST, 80, "v1", 100),)),
        ),
        rule="canary.canary",
    )
    plain = outcome(Request(VIP, 80, "canary"), routes)
    chosen = outcome(Request(VIP, 80, "canary", headers=(("user", "zhongmingmao"),)), routes)
    assert plain.shares == (Share(f"outbound|80|v1|{HOST}", 100.0, (_by_mutual_tls("10.244.0.6:8080", "v1"),)),)
    assert chosen.shares == (Share(f"outbound|80|v2|{HOST}", 100.0, (_by_mutual_tls("10.244.0.8:8080", "v2"),)),)
    assert (plain.listener, plain.table, plain.virtual_host) == ("0.0.0.0_80", "80", f"{HOST}:80")
    assert plain.rule == "/apis/networking.istio.io/v1/namespaces/canary/virtual-service/canary"
    assert (plain.retries, plain.timeout) == (2, timedelta(0))


def test_the_walkthroughs_fault_takes_80_percent_of_the_default_route() -> None:
    routes = HostRoutes(
        (
            HttpRoute(
                (Destination(HOST, 80, "v2", 100),), matches=(BY_USER,), retries=Retries(3, timedelta(seconds=2))
            ),
            HttpRoute((Destination(HOST, 80, "v1", 100),), abort=Abort(80, 500)),
        ),
        rule="canary.canary",
    )
    faulty = outcome(Request(VIP, 80, "canary"), routes)
    spared = outcome(Request(VIP, 80, "canary", headers=(("user", "zhongmingmao"),)), routes)
    assert faulty.abort == Fault(80.0, status=500)
    assert (spared.abort, spared.retries) == (None, 3)


@pytest.mark.parametrize("percentage", [0.0001, 0.5, 33.3333, 100])
def test_percentages_keep_four_decimals(percentage: float) -> None:
    late = Delay(percentage, timedelta(milliseconds=1500))
    routes = HostRoutes((HttpRoute((Destination(HOST, 80, "", 100),), delay=late),))
    assert outcome(Request(VIP, 80, "canary"), routes).delay == Fault(percentage, delay=timedelta(seconds=1.5))


def test_shares_add_up_and_one_that_leads_nowhere_has_no_endpoints() -> None:
    targets = (Destination(HOST, 80, "v1", 70), Unresolved("subset not found", 30))
    shares = outcome(Request(VIP, 80, "canary"), HostRoutes((HttpRoute(targets),))).shares
    assert [(share.percent, share.endpoints) for share in shares] == [(70.0, ("10.244.0.6:8080",)), (30.0, ())]


@pytest.mark.parametrize(
    "host", ["canary", "canary.canary", "canary.canary.svc", HOST, f"{HOST}:80", VIP, "CANARY"]
)
def test_every_name_of_a_service_leads_to_it(host: str) -> None:
    assert outcome(Request(VIP, 80, host)).virtual_host == f"{HOST}:80"


def test_a_short_name_is_known_in_its_own_namespace_only() -> None:
    abroad = outcome(Request(VIP, 80, "canary"), namespace="sidecar")
    assert abroad.virtual_host == "allow_any"
    assert abroad.shares == (Share("PassthroughCluster", 100.0, (Reached(f"{VIP}:80", 100.0),)),)
    assert outcome(Request(VIP, 80, "canary.canary"), namespace="sidecar").virtual_host == f"{HOST}:80"


def test_plain_connections_go_to_the_service_or_pass_as_dialled() -> None:
    tcp = outcome(Request(VIP, 9000, http=False))
    unknown = outcome(Request("192.0.2.1", 5432, http=False))
    assert tcp.shares[0].cluster == f"outbound|9000||{HOST}"
    share = Share("PassthroughCluster", 100.0, (Reached("192.0.2.1:5432", 100.0),))
    assert unknown == Outcome("virtualOutbound", chain="virtualOutbound-catchall-tcp", shares=(share,))


def test_a_request_that_matches_no_route_is_answered_404() -> None:
    only = HostRoutes((HttpRoute((Destination(HOST, 80, "", 100),), matches=(BY_USER,)),), rule="canary.canary")
    assert outcome(Request(VIP, 80, "canary"), only).status == 404


def _by_mutual_tls(address: str, subset: str) -> Reached:
    identities = ("spiffe://cluster.local/ns/canary/sa/default",)
    tls = UpstreamTls(f"outbound_.80_.{subset}_.{HOST}", "default", "ROOTCA", identities)
    return Reached(address, 100.0, tls=tls)
