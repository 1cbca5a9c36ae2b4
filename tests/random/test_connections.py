"""Random routes of connections: Envoy takes all of them, and does with connections what was simulated."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.cases import in_envoy
from tests.cases.connections import CLOSED, PASSTHROUGH, Connection, by_simulator
from tests.cases.connections_in_envoy import answer, dialled, reached
from tests.cases.engine import Case
from tests.cases.in_envoy import Sidecar, place, sidecar

from weft.model.services import Proxy
from weft.model.snapshot import Snapshot
from weft.model.store import Store
from weft.model.views import view
from weft.xds.resource import LISTENER

Json = dict[str, Any]
HOSTS = ("web", "one.example.com", "*.example.org", "block.example.com")
NAMES = ("web.shop.svc.cluster.local", "one.example.com", "a.example.org", "*.a.example.org", "block.example.com")
BLOCKS = ("10.0.0.0/8", "10.50.0.0/16", "10.50.1.0/24", "10.96.1.1", "10.9.9.0/24")
SOURCES = ("10.244.0.0/16", "10.244.0.99", "10.245.0.0/16")
PORTS = (443, 9443, 9100, 9101)
ADDRESSES = ("10.96.1.1", "10.50.9.9", "10.50.1.9", "10.9.9.9")
ASKED = (
    None,
    "",
    "one.example.com",
    "a.example.org",
    "x.a.example.org",
    "web.shop.svc.cluster.local",
    "other.test",
)


def entry(host: str, ports: list[tuple[int, str]], *addresses: str) -> Json:
    listed = [{"name": f"p{number}", "number": number, "protocol": protocol} for number, protocol in ports]
    spec: Json = {"hosts": [host], "addresses": addresses, "ports": listed, "resolution": "STATIC"}
    name = host.replace("*", "wild")
    spec |= {"resolution": "NONE"} if "*" in host else {"endpoints": [{"address": "192.0.2.1"}]}
    return {"kind": "ServiceEntry", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


SERVICES = (
    {
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "clusterIP": "10.96.1.1",
            "ports": [{"name": "https", "port": 443}, {"name": "tcp", "port": 9100}, {"name": "x", "port": 9101}],
        },
    },
    {
        "kind": "Service",
        "metadata": {"name": "requests", "namespace": "shop"},
        "spec": {
            "clusterIP": "10.96.1.2",
            "ports": [{"name": "http", "port": 443}, {"name": "http-2", "port": 9443}],
        },
    },
    entry("one.example.com", [(443, "TLS")]),
    entry("*.example.org", [(443, "TLS")]),
    entry("block.example.com", [(443, "TLS"), (9443, "TCP")], "10.50.0.0/16"),
    entry("narrow.example.com", [(9443, "TCP")], "10.50.1.0/24"),
)


def some(values: tuple[Any, ...], least: int = 0, most: int = 2) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=most, unique=True)


@st.composite
def destinations(draw: st.DrawFn) -> list[Json]:
    hosts = draw(
        st.lists(st.sampled_from(("web", "one.example.com", "nobody")), min_size=1, max_size=2, unique=True)
    )
    ports = {"web": 9100, "one.example.com": 443, "nobody": 1}
    return [{"destination": {"host": each, "port": {"number": ports[each]}}, "weight": 50} for each in hosts]


@st.composite
def match(draw: st.DrawFn, *, tls: bool) -> Json:
    found: Json = {"destinationSubnets": draw(some(BLOCKS))}
    if tls:
        found["sniHosts"] = draw(some(NAMES, 1))
    elif draw(st.booleans()):
        found["sourceSubnet"] = draw(st.sampled_from(SOURCES))
    if draw(st.booleans()):
        found["port"] = draw(st.sampled_from(PORTS))
    return found


@st.composite
def rule(draw: st.DrawFn) -> Json:
    tls = draw(st.booleans())
    routes = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "match": st.lists(match(tls=tls), min_size=int(tls), max_size=2),
                    "route": destinations(),
                }
            ),
            min_size=1,
            max_size=3,
        )
    )
    # every server name is one of these hosts
    hosts = [*HOSTS, "*.cluster.local"] if tls else draw(some(HOSTS, 1, 4))
    name = f"r{draw(st.integers(0, 2))}"
    spec = {"hosts": hosts, "tls" if tls else "tcp": routes}
    return {"kind": "VirtualService", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


connections = st.builds(
    Connection,
    st.sampled_from(ADDRESSES),
    st.sampled_from(PORTS),
    st.sampled_from(ASKED),
    st.just("hello\n"),
    st.just(()),
)


def case_of(rules: list[Json]) -> Case:
    store = Store()
    for each in (*SERVICES, *rules):
        store.apply(each["kind"], each)
    snapshot: Snapshot = store.snapshot()
    assert not [each for each in snapshot.reported if each.severity.value == "Error"], snapshot.reported
    seen = view(snapshot, Proxy("client", "shop", "10.244.0.99"))
    return Case(snapshot=snapshot, view=seen, requests=(), policies={}, clusters={}, problems=None)


@dataclass
class Rounds:
    """One Envoy, told of one set of rules after the other."""

    proxy: Sidecar

    def play(self, rules: list[Json], asked: list[Connection]) -> None:
        case, management = case_of(rules), self.proxy.management
        heard, had = management.heard[LISTENER], management.resources[LISTENER]
        in_envoy.again(self.proxy, case)
        if management.resources[LISTENER] != had:
            deadline = time.monotonic() + 5
            while management.heard[LISTENER] == heard:
                assert time.monotonic() < deadline
                time.sleep(0.002)
        assert management.rejected == []
        for each in asked:
            expected = {answer(key, each, case) for key, _ in by_simulator(each, case)}
            deadline = time.monotonic() + 5
            # listeners come into force a moment after Envoy has said yes
            while (found := reached(self.proxy, each)) not in expected:
                assert time.monotonic() < deadline, (found, expected, each, rules)
                time.sleep(0.02)


@pytest.fixture(scope="module")
def rounds() -> Iterator[Rounds]:
    with place() as here, sidecar(case_of([]), here) as proxy, dialled(here, set(PORTS)):
        yield Rounds(proxy)


def test_the_worlds_are_not_all_alike(rounds: Rounds) -> None:
    case = case_of([])
    told = {by_simulator(Connection(address, 443, name, "", ()), case) for address in ADDRESSES for name in ASKED}
    assert {PASSTHROUGH, "one.example.com|443|", "*.example.org|443|", "web.shop.svc.cluster.local|443|"} <= {
        key for shares in told for key, _ in shares
    }
    assert CLOSED not in {key for shares in told for key, _ in shares}


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # shrinking takes a real Envoy minutes; the message has all that is needed
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(rule(), max_size=3), st.lists(connections, min_size=6, max_size=10))
def test_envoy_does_with_connections_what_was_simulated(
    rounds: Rounds, rules: list[Json], asked: list[Connection]
) -> None:
    rounds.play(rules, asked)
