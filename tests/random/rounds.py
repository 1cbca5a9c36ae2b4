"""One Envoy that is given one random cluster after the other, and is asked what was simulated."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cases import edge, engine, in_envoy
from tests.cases.in_envoy import Answer, Place, Sidecar
from tests.random.worlds import BEACON, GATEWAY, NAMESPACE, World, beacon
from tests.support import edge_pki, envoy

from weft.api.decode import decode
from weft.api.resources import RESOURCES
from weft.model.services import Proxy, ProxyKind
from weft.model.snapshot import Snapshot
from weft.model.store import Store
from weft.model.views import view
from weft.xds.generate import Generator
from weft.xds.resource import CLUSTER, Resources
from weft.xds.simulate import Outcome, Request, simulate

PATIENCE = 5.0


def snapshot_of(worlds: tuple[World, ...], count: int) -> Snapshot:
    """The cluster of these worlds, with a beacon that answers the round's number."""
    store = Store()
    for each in (*beacon(count), *(each for one in worlds for each in one.objects)):
        kind = RESOURCES.get(each["kind"])
        assert kind is None or not isinstance(found := decode(kind.shape, each), tuple), found
        store.apply(each["kind"], each)
    return store.snapshot()


class Rounds(ABC):
    """What both kinds of proxy have in common."""

    management: envoy.Management

    def __init__(self) -> None:
        self.count = 0
        self.generator = Generator()
        self.resources: Resources = {}

    def play(self, worlds: tuple[World, ...]) -> None:
        """Give Envoy these worlds, and hold each of their requests to its simulation."""
        self.count += 1
        self.give(snapshot_of(worlds, self.count))
        deadline = time.monotonic() + PATIENCE
        while self.ask(BEACON).body != str(self.count).encode():
            assert time.monotonic() < deadline, self.management.rejected
            time.sleep(0.005)
        for each in worlds:
            for request in each.requests:
                self._agree(request, each)
        assert self.management.rejected == []

    def _agree(self, request: engine.Request, one: World) -> None:
        outcome = simulate(self.asked(request), self.resources)
        deadline = time.monotonic() + PATIENCE
        while difference := self._difference(request, outcome, self.ask(request)):
            # listeners and clusters may come into force a moment after the routes
            assert time.monotonic() < deadline, (difference, request, outcome, one.objects)
            time.sleep(0.02)

    def _difference(self, request: engine.Request, outcome: Outcome, answer: Answer) -> str:
        """What Envoy did otherwise; empty if nothing."""
        expected = {name for name, share in self.shares(outcome) if share}
        found = self.destination(answer)
        if found not in expected:
            return f"it went to {found}, not {sorted(expected)}"
        if outcome.location and answer.headers["location"] != [outcome.location]:
            return f"location is {answer.headers['location']}"
        if outcome.body and answer.body != outcome.body:
            return f"body is {answer.body!r}"
        if answer.seen is None:
            return ""
        share = next(each for each in outcome.shares if engine.cluster_key(each.cluster) == found)
        if answer.seen.path != outcome.path:
            return f"path is {answer.seen.path}"
        if answer.seen.headers["host"] != (share.host or outcome.host):
            return f"host is {answer.seen.headers['host']}"
        for name, value in engine.request_headers(request, outcome).items():
            if answer.seen.headers.get(name) != value.replace("%%", "%"):
                return f"{name} is {answer.seen.headers.get(name)!r}, not {value!r}"
        return ""

    @abstractmethod
    def give(self, snapshot: Snapshot) -> None:
        """Give Envoy what it is to have of a snapshot."""

    @abstractmethod
    def ask(self, request: engine.Request) -> Answer:
        """Send a request."""

    @abstractmethod
    def asked(self, request: engine.Request) -> Request:
        """The request as the simulator takes it."""

    @abstractmethod
    def destination(self, answer: Answer) -> str:
        """Where the answer came from."""

    @abstractmethod
    def shares(self, outcome: Outcome) -> tuple[tuple[str, float], ...]:
        """Where the simulator sends a request, in the words of `destination`."""


class SidecarRounds(Rounds):
    """Beside a client in the worlds' namespace."""

    def __init__(self, proxy: Sidecar) -> None:
        super().__init__()
        self.proxy, self.management = proxy, proxy.management

    def give(self, snapshot: Snapshot) -> None:
        case = sidecar_case(snapshot)
        in_envoy.again(self.proxy, case)
        self.resources = self.generator.resources(case.view)

    def ask(self, request: engine.Request) -> Answer:
        return self.proxy.ask(request)

    def asked(self, request: engine.Request) -> Request:
        return engine.asked(request, self.proxy.case.view)

    def destination(self, answer: Answer) -> str:
        return self.proxy.destination(answer)

    def shares(self, outcome: Outcome) -> tuple[tuple[str, float], ...]:
        return engine.outcome_shares(outcome)


class GatewayRounds(Rounds):
    """At the edge."""

    def __init__(self, here: Place, management: envoy.Management) -> None:
        super().__init__()
        self.here, self.management = here, management
        self.clusters: dict[str, str] = {}

    def give(self, snapshot: Snapshot) -> None:
        self.resources = edge_resources(self.generator, snapshot)
        self.clusters = addresses(self.resources)
        self.management.update(in_envoy.led(self.resources, self.clusters))

    def ask(self, request: engine.Request) -> Answer:
        self.here.seen.clear()
        return self.here.ask(request, "127.0.0.1", request.address)

    def asked(self, request: engine.Request) -> Request:
        query = "&".join(f"{name}={value}" for name, value in request.query)
        return Request(
            address="10.244.0.99",
            port=request.port,
            host=request.address if request.port == 80 else f"{request.address}:{request.port}",
            path=f"{request.path}?{query}" if query else request.path,
            method=request.method,
            headers=request.headers,
            protocols=("http/1.1",),
        )

    def destination(self, answer: Answer) -> str:
        if answer.seen is None:
            return str(answer.status) if answer.status else edge.REFUSED
        return edge.place(next(name for name, own in self.clusters.items() if own == answer.seen.server))

    def shares(self, outcome: Outcome) -> tuple[tuple[str, float], ...]:
        return edge.outcome_shares(outcome)


@contextmanager
def beside_a_client() -> Iterator[Rounds]:
    """An Envoy as a sidecar."""
    with in_envoy.place("weft-random") as here, in_envoy.sidecar(sidecar_case(snapshot_of((), 0)), here) as proxy:
        yield SidecarRounds(proxy)


@contextmanager
def at_the_edge() -> Iterator[Rounds]:
    """An Envoy as a gateway."""
    first = edge_resources(Generator(), snapshot_of((), 0))
    started = in_envoy.led(first, addresses(first))
    with (
        in_envoy.place("weft-random-edge", capture=False) as here,
        envoy.started(started, edge_pki.gateway(), namespace=here.namespace) as (_, management),
    ):
        yield GatewayRounds(here, management)


def sidecar_case(snapshot: Snapshot) -> engine.Case:
    """What the sidecar of a client gets."""
    seen = view(snapshot, Proxy("client", NAMESPACE, "10.244.0.99"))
    return engine.Case(snapshot, seen, (), {}, {}, problems=None)


def edge_resources(generator: Generator, snapshot: Snapshot) -> Resources:
    """What the gateway gets."""
    labels = tuple(sorted(GATEWAY.items()))
    return generator.resources(view(snapshot, Proxy("edge", "edge", "10.244.0.99", labels, kind=ProxyKind.ROUTER)))


def addresses(resources: Resources) -> dict[str, str]:
    """An address of its own for each cluster of a service."""
    names = sorted(name for name in resources[CLUSTER] if name.startswith("outbound"))
    return {name: f"127.1.{number // 200}.{1 + number % 200}" for number, name in enumerate(names)}
